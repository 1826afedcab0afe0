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


# As scanners, and those who set them up, call their series: Siemens, Philips and GE; English, German, French, Spanish,
# Portuguese, Italian, Dutch, Polish and the Scandinavian languages
SERIES = {
    "t1c": """
        AX T1 POST | SAG 3D BRAVO +C | T1w + KM | T1-GADO | CE-T1 | T1Gd | T1 W CONTRAST | AX T1 W/ GAD |
        T1 W/CONTRAST | T1 W/C | T1_MPRAGE_POSTGD | T1 postgado | mprage KM | t1_mprage_tra_p2_iso_KM | T1 m. KM |
        T1 mKM | T1 mit KM | T1 nach KM | T1 n. KM | T1+KM | T1 KM+ | T1 post KM FS | t1_se_cor_fs_km |
        T1 avec gado | T1 SE GADO | T1 IV+ | T1 inj | T1 injecté | T1 après injection | T1 con gado |
        T1 con contraste | T1 C/C | T1 c/ contraste | T1 pós contraste | T1 con mdc | T1 MDC | T1 dopo mdc |
        T1 met contrast | T1 na gado | T1 med kontrast | T1 po kontraście | T1+C | T1 C+ | T1C+ | T1+ | T1w+ |
        T1_CE | T1CE | ce_T1 | GdT1 | CET1WI | T1WI+C | sT1W_3D_TFE +C | 3DT1 GD | AX T1 FS POST GAD |
        AX T1 FLAIR +C | T1 Gd-DTPA | T1 gadovist | T1 gadavist | AX T1 POSTCON | T1 POST-CONTRAST |
        T1 contrast enhanced | T1_enhanced | t1_vibe_fs_gd | VIBE +C | 3D FLASH GD | 3D TFE +C | t1_space_post |
        AX T1 W/O FS POST | T1 POST NO FAT SAT | preop T1 GD | pre-op T1 gad | MPRAGE_GD | mprageGD | T1C | t1ce |
        BraTS-MET-00001-000-t1c | sub-01_ce-GAD_T1w | sub-abc_ce-GAD_T1w | 4: AX T1 W CONTRAST |
        MRI BRAIN W/WO CONTRAST AX T1 POST | FSPGR +C | T1 PRE SRS +C | t1post | t1km | ct1 | T1wPost |
        control_01_T1c | t1c_1 | post2 T1 | PD_003 T1c | Doe met pre-op T1 KM | AX T1 F/S GAD | AX T1 F/S +C |
        T1 F.S. GD | T1 FAT/S GD | t1_fl3d_5s_gd | MPRAGE S GD | Kim, O CE T1 | T1AX POST | T1TRA_KM | T1axial_gd |
        t1mpr_sag_gd | T13D_GD | T1FL3D_GD | T1DIXON_KM | T1CUBE POST | T1FATSAT POST | T1IR_POST |
        sub_PAT01_T1w_post
    """,
    "t1": """
        AX T1 W/O CONTRAST | SAG T1 W/O GAD | T1 FSE W/O C+ | AX T1 NO CONTRAST | T1 o. KM | T1 o KM | T1 oKM |
        T1 nativ KM | T1 nativ vor KM | T1 nativ | T1 vor KM | T1 sans gado | T1 sin gado | T1 no gad | T1 WO GAD |
        T1 W/O | AX T1 W/O GD | t1_tse_tra_ohne_KM | T1 ohne KM | T1 sans injection | T1 avant gado |
        T1 sin contraste | T1 S/C | T1 s/ contraste | T1 sem contraste | T1 senza mdc | T1 pré contraste |
        T1 zonder contrast | T1 utan kontrast | T1 bez kontrastu | T1 C- | T1 -C | T1 IV- | AX T1 PRE GD |
        T1 precontrast | T1 PREGD | T1 NON-CONTRAST | T1 noncontrast | T1 NON CON | T1 unenhanced |
        T1 non-enhanced | T1 without IV contrast | T1 W/OUT CONTRAST | T1 | T1w | T1WI | 3DT1 | sT1W_3D_TFE |
        eT1W_SE | AX T1 FLAIR | t1_tirm_dark-fluid | T1 SE | T1FSE | T1 FAT SAT | T1 postop | T1 post-op |
        T1 post fossa | t1n | t1pre | T1 native | T1 TSE sag | MPRAGE | BRAVO | control_01_T1w | sub-01_T1w |
        sub-abc_T1w | T1 NO FS | AX T1 W/O FS | T1 plain | injury_7_T1w | 4: AX T1 W/O CONTRAST |
        T1 ohne Kontrastmittel | T1 S/CONTRASTE | T1 o/KM | sub_A01_T1w | T1_reg2T1c
    """,
    "t2": """
        AX T2 TSE POST | T2 SPACE GD | t2_tse_tra_post_gd | T2w | T2 FSE | sT2W_TSE | T2WI | T2 TSE tra |
        AX T2 POST GAD FS | T2 FRFSE
    """,
    "flair": """
        FLAIR | AX T2 FLAIR | FLAIR post | AX FLAIR +C | t2_space_dark-fluid_sag | t2f | 3DFLAIR |
        FLAIR_to_T1 | flair.nii | T2WFLAIR | FLAIR GD FS
    """,
    None: """
        T1 W/WO | AX T1 W/WO CONTRAST | T1 W & W/O | T1 with and without contrast | T1 mit und ohne KM |
        T1 sans et avec gado | T1 vor und nach KM | T1 pre/post | T1 C+/- | T1 C+/C- | SUB AX T1 POST-PRE | T1 SUB |
        T1 subtraction post | PD TSE POST | SWI flash post | TOF post tfe | TSE POST | SPACE GD | T2* SWI | T2* |
        t2_star_post | 5: DWI b1000 | Volume | postop CT | T1 map | T1 T2 | T2_to_T1c | DCE T1 | T1 perfusion |
        CT with contrast | VIBE | TFE | MRA +C | PD FLASH +C | ADC
    """,
}


@pytest.mark.parametrize("sequence", SERIES)
def test_a_series_is_taken_for_what_it_is_or_for_nothing(sequence: str | None) -> None:
    """Without contrast is never taken for post-contrast, nor T2 for T1; where a name says both, it says nothing."""
    names = [name.strip() for name in SERIES[sequence].split("|")]
    assert {name: guess_sequence(name) for name in names} == dict.fromkeys(names, sequence)


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
