import pytest

from core.datasets.names import find_name_fault, fold_name, printable_name, tidy_name


@pytest.mark.parametrize(
    "name",
    [
        "train/cat/1.png",
        "train/cat/",
        "träin/猫/ひ.png",
        "a b/(1) copy.png",
        ".hidden/x",
        "train/🐈‍⬛/1.png",
        "train/<script>alert(1)<script>/1.png",
        "train/=cmd()/1.png",
        "train/'; DROP TABLE jobs; --/1.png",
        "train/" + "a" * 255 + "/1.png",
        "./",
        "console/contact.png",
    ],
)
def test_ordinary_and_strange_names_are_data(name):
    # A47: a class name is data, whatever it looks like
    assert find_name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        # A31
        ("../x.png", "leads out"),
        ("a/../../x.png", "leads out"),
        ("a/./x.png", "leads out"),
        ("/etc/passwd", "absolute"),
        ("//server/share/x", "absolute"),
        ("C:/x.png", "drive"),
        ("c:x.png", "drive"),
        ("a\\b.png", "back-slash"),
        ("\\\\server\\share", "back-slash"),
        # A42
        ("a\0b.png", "control"),
        ("a\nb/x.png", "control"),
        ("a\x85b.png", "control"),
        ("train/CON", "reserved"),
        ("train/con.png", "reserved"),
        ("train/Lpt1.tar.gz", "reserved"),
        ("train/cat./1.png", "ends in a dot"),
        ("train/\u202egnp.exe", "direction"),
        ("train/\u200fx.png", "direction"),
        ("a" * 300, "more than 255"),
        ("train/" + "ä" * 128 + "/x.png", "more than 255"),
        ("a/" * 600 + "x", "longer than 1024"),
        ("", "empty part"),
        ("a//b", "empty part"),
        ("a//", "empty part"),
    ],
)
def test_names_that_could_harm_are_refused(name, reason):
    assert reason in find_name_fault(name)


def test_names_that_a_file_system_confuses_fold_to_one():
    # A41
    assert fold_name("A.PNG") == fold_name("a.png")
    assert fold_name("caf\u00e9.png") == fold_name("CAFE\u0301.png")
    assert fold_name("a.png") != fold_name("b.png")


def test_leading_dot_folders_are_taken_away():
    assert tidy_name("././train/x.png") == "train/x.png"
    assert tidy_name("./") == "./"


def test_printable_names_have_no_control_characters_and_an_end():
    assert printable_name("a\0b\x1b[31m\u202e") == "a\\x00b\\x1b[31m\\u202e"
    assert len(printable_name("x" * 10_000)) == 255
