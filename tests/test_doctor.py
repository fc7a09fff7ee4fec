"""What `compress doctor` finds, and what it says each missing part costs."""

import hashlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

from compress import doctor
from compress.doctor import Finding, Package, examine_package, examine_weights, int8_support, render
from compress.recipe.packages import Weights

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


@pytest.mark.parametrize(
    ("package", "state"),
    [
        (Package("pytest", "1", "", "tests"), "ok"),
        (Package("pytest", "999", "", "tests"), "wrong"),
        (Package("pytest", "0", "1", "tests"), "wrong"),
        (Package("no-such-distribution", "1", "", "tests"), "missing"),
    ],
)
def test_a_package_is_judged_by_its_version(package, state):
    finding = examine_package(package)
    assert finding.state == state
    assert finding.cost == ("" if state == "ok" else "tests")


def test_a_version_is_compared_as_numbers():
    assert doctor._release("2.9") < doctor._release("2.13.0+cpu") < doctor._release("2.14")


@pytest.mark.parametrize(("content", "state"), [(b"published", "ok"), (b"changed", "wrong"), (None, "missing")])
def test_a_weights_file_is_judged_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content, state):
    package = tmp_path / "some_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('must not be imported')")
    if content is not None:
        (package / "model.bin").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    digest = hashlib.sha256(b"published").hexdigest()
    finding = examine_weights("owl", Weights("some-weights", "1.0", "some_weights", "model.bin", digest, "MIT", "some-weights"))
    assert (finding.state, finding.cost) == (state, "" if state == "ok" else "encoder owl has no pretrained weights")
    assert state == "ok" or "some-weights" in finding.name + finding.found
    assert "some_weights" not in sys.modules


@pytest.mark.parametrize(
    ("cpuinfo", "state", "found"),
    [
        ("flags\t\t: fpu avx2 avx512_vnni\n", "ok", "avx512_vnni, avx2 (int8 dot products, 512 bits)"),
        ("Features\t: fp asimddp i8mm\n", "ok", "i8mm, asimddp (int8 matrix products (ARM))"),
        ("flags\t\t: fpu sse2\nmodel name : avx2\n", "missing", "no flag that speeds int8 up"),
    ],
)
def test_cpu_flags_say_what_int8_gains(cpuinfo, state, found):
    finding = int8_support(cpuinfo)
    assert (finding.state, finding.found) == (state, found)


def test_the_last_line_names_required_parts_that_lack():
    lines = render([Finding("a", "ok", "1"), Finding("b", "missing", "none", True, "all"), Finding("c", "missing", "none", cost="little")])
    assert lines[1] == "missing           b  none; costs: all"
    assert lines[2] == "missing, optional c  none; costs: little"
    assert lines[-1] == "1 required part(s) not usable: b"
    assert render([Finding("a", "ok", "1")])[-1] == "all that is required is here"


def test_everything_required_is_here_where_the_tests_run():
    findings = doctor.examine()
    assert [finding.name for finding in findings if finding.required and finding.state != "ok"] == []
    assert "tensorrt_rtx" not in sys.modules or not any(f.name == "GPU" and f.state == "ok" for f in findings)


@pytest.mark.skipif(not PYPROJECT.exists(), reason="only a checkout has pyproject.toml")
def test_required_packages_are_the_dependencies_of_the_project():
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    stated = {
        re.match(r"[\w-]+", line)[0].lower().replace("_", "-"): re.sub(r"^[\w-]+(\[.*?\])?", "", line) for line in project["dependencies"]
    }
    for package in doctor.PACKAGES:
        if package.required:
            limits = stated[package.name.lower().replace("_", "-")]
            assert limits == f">={package.low}" + (f",<{package.below}" if package.below else ""), package.name
