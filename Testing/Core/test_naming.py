"""Names as they are met, and the sequences that they mean."""

import pytest
from lopsided.naming import case_name, guess_sequence, guess_sequences


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("BraTS-GLI-00001-000-t1c", "t1c"),
        ("BraTS-GLI-00001-000-t1n", "t1"),
        ("BraTS-GLI-00001-000-t2w", "t2"),
        ("BraTS-GLI-00001-000-t2f", "flair"),
        ("BraTS19_CBICA_AAB_1_t1ce", "t1c"),
        ("T1 MPRAGE post contrast", "t1c"),
        ("t1_mprage_sag_p2_iso_Gd", "t1c"),
        ("AX T1 POST", "t1c"),
        ("SAG 3D BRAVO +C", "t1c"),
        ("T1w + KM", "t1c"),
        ("T1-GADO", "t1c"),
        ("CE-T1", "t1c"),
        ("T1Gd", "t1c"),
        ("t1_mprage_tra", "t1"),
        ("AX T1 PRE GD", "t1"),
        ("AX T1 without contrast", "t1"),
        ("T1", "t1"),
        ("T2 TSE tra", "t2"),
        ("AX T2 FLAIR", "flair"),
        ("t2_space_dark-fluid_sag", "flair"),
        ("FLAIR", "flair"),
        ("flair.nii", "flair"),
        ("5: DWI b1000", None),
        ("T2* SWI", None),
        ("Volume", None),
        ("postop CT", None),
    ],
)
def test_a_name_says_which_sequence_it_is(name: str, sequence: str | None) -> None:
    assert guess_sequence(name) == sequence


def test_only_what_is_beyond_doubt_is_guessed() -> None:
    names = {"a": "T1 MPRAGE Gd", "b": "AX T2", "c": "SAG T2", "d": "FLAIR", "e": "ADC"}
    assert guess_sequences(names) == {"t1c": "a", "flair": "d"}
    assert guess_sequences({}) == {}


@pytest.mark.parametrize(
    ("names", "case"),
    [
        (("BraTS-MET-00001-000-t1c", "BraTS-MET-00001-000-t2f"), "BraTS-MET-00001-000"),
        (("sub-01_ce-GAD_T1w", "sub-01_FLAIR", "sub-01_T2w"), "sub-01"),
        (("Doe 2 AX T1 POST", "Doe 2 3D BRAVO +C", "Doe 2 t2_space_dark-fluid_sag", "Doe 2 (T1)"), "Doe 2"),
        (("T1 MPRAGE post contrast", "AX FLAIR", "CE-T1", "t1c_1"), ""),
        (("Doe", "Volume 2"), ""),
    ],
)
def test_images_of_a_case_are_told_by_what_their_names_begin_with(names: tuple[str, ...], case: str) -> None:
    assert [case_name(name) for name in names] == [case] * len(names)
