"""Text of headers that is not in UTF-8 is what its author meant, and never what cannot be written down."""

import os
from pathlib import Path

import pytest
from lopsided.characters import check_name, decoded
from lopsided.errors import InputError


def as_read(raw: bytes) -> str:
    """As SimpleITK gives it."""
    return raw.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("sets", "raw", "meant"),
    [
        ("", b"T1 post", "T1 post"),
        ("", "Schädel".encode(), "Schädel"),
        ("", b"Sch\xe4del", "Schädel"),
        ("ISO_IR 6", b"Sch\xe4del", "Schädel"),  # against the standard, and frequent
        ("ISO_IR 100", b"T1 nach KM Sch\xe4del", "T1 nach KM Schädel"),
        ("ISO_IR 100", "T1 nach KM Schädel".encode(), "T1 nach KM Schädel"),
        ("ISO_IR 101", "Łódź".encode("iso8859_2"), "Łódź"),
        ("ISO_IR 109", "ĝis".encode("iso8859_3"), "ĝis"),
        ("ISO_IR 110", "galvasķermeņi".encode("iso8859_4"), "galvasķermeņi"),
        ("ISO_IR 144 ", "голова".encode("iso8859_5"), "голова"),
        ("ISO_IR 127", "رأس".encode("iso8859_6"), "رأس"),
        ("ISO_IR 126", "κεφάλι".encode("iso8859_7"), "κεφάλι"),
        ("ISO_IR 138", "ראש".encode("iso8859_8"), "ראש"),
        ("ISO_IR 148", "baş".encode("iso8859_9"), "baş"),
        ("ISO_IR 203", "tête œ".encode("iso8859_15"), "tête œ"),
        ("ISO_IR 166", "สมอง".encode("tis_620"), "สมอง"),
        ("ISO_IR 13", b"\xb1\xb2\xb3 T1", "ｱｲｳ T1"),
        ("ISO_IR 192", "T1 Schädel".encode(), "T1 Schädel"),
        ("GB18030", "头部增强".encode("gb18030"), "头部增强"),
        ("GBK", "头部增强".encode("gbk"), "头部增强"),
        ("\\ISO 2022 IR 87 ", b"T1 \x1b$BF,It\x1b(B ax", "T1 頭部 ax"),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", b"\xb1 \x1b$BF,It\x1b(J ax", "ｱ 頭部 ax"),
        ("\\ISO 2022 IR 149", b"T1 \x1b$)C" + "두부".encode("euc_kr"), "T1 두부"),
        ("\\ISO 2022 IR 58", b"\x1b$)A" + "头部".encode("gb2312"), "头部"),
        ("ISO 2022 IR 100\\ISO 2022 IR 144", b"Sch\xe4del \x1b-L" + "голова".encode("iso8859_5"), "Schädel голова"),
    ],
)
def test_what_a_header_says_is_in_the_characters_that_were_meant(sets: str, raw: bytes, meant: str) -> None:
    assert decoded(as_read(raw), sets) == meant


@pytest.mark.parametrize(
    "sets", ["", "ISO_IR 192", "ISO_IR 138", "GB18030", "\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "?"]
)
def test_what_it_cannot_mean_can_be_written_down_all_the_same(sets: str) -> None:
    for raw in (bytes(range(128, 256)), b"\xff\x1b", b"\x1b$BF", b"\x1b$)C\xff\xff\x1b(Z\xff", b"\x1b$(D\xff~~"):
        decoded(as_read(raw), sets).encode()


def test_of_a_path_the_part_is_named_that_has_to_be_renamed(tmp_path: Path) -> None:
    check_name(tmp_path / "Köpf 頭.nii.gz")
    with pytest.raises(InputError) as caught:
        check_name(tmp_path / as_read(b"K\xf6pf") / "t1.nii.gz")
    assert str(caught.value) == (
        rf"{tmp_path}{os.sep}K\xf6pf: its name is not in UTF-8, and the image library cannot open it; give it another name"
    )
