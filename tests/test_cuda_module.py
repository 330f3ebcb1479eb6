"""From text to cubin: keys, the cache on disk, errors; NVRTC, but no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyconv.cuda import module, source


@pytest.mark.usefixtures("nvrtc")
def test_an_error_carries_the_compilers_log() -> None:
    with pytest.raises(module.CompileError, match="undefined_name"):
        module.compile_cubin(
            'extern "C" __global__ void f() { undefined_name(); }',
            module.options_for("sm_80", 32),
        )


def test_a_changed_header_changes_the_key(tmp_path: Path) -> None:
    (tmp_path / "cuda").mkdir()
    header = tmp_path / "cuda" / "inner.cuh"
    (tmp_path / "cuda" / "outer.cuh").write_text('#include "inner.cuh"\nint b;\n')
    options = module.options_for("sm_90", 32)
    keys = []
    for body in ("int a;\n", "int a2;\n"):
        header.write_text(body)
        text = source.flatten(("outer.cuh",), tmp_path)
        assert text.index("int a") < text.index("int b")
        keys.append(module.cubin_key(text, options, (13, 0)))
    assert keys[0] != keys[1]
    others = (
        module.cubin_key(text, module.options_for("sm_80", 32), (13, 0)),
        module.cubin_key(text, module.options_for("sm_90", 64), (13, 0)),
        module.cubin_key(text, options, (13, 1)),
    )
    assert len({keys[1], *others}) == 4


def test_a_system_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cuda").mkdir()
    (tmp_path / "cuda" / "outer.cuh").write_text("#include <cmath>\n")
    with pytest.raises(ValueError, match=r"outer.cuh:1: .*<cmath>"):
        source.flatten(("outer.cuh",), tmp_path)


@pytest.mark.usefixtures("nvrtc")
def test_cubins_are_cached_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYCONV_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(module, "MAX_CACHED_FILES", 2)
    options = module.options_for("sm_80", 32)
    text = 'extern "C" __global__ void f() {}'
    first = module.cubin_file(text, options)
    assert first.is_relative_to(tmp_path)
    before = first.stat().st_mtime_ns
    assert module.cubin_file(text, options) == first
    assert first.stat().st_mtime_ns == before
    for number in range(3):
        module.cubin_file(f"{text} // {number}", options)
    assert len(list(first.parent.iterdir())) == 2  # bounded, and no .part left behind


@pytest.mark.usefixtures("nvrtc")
def test_an_unusable_cache_directory_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYCONV_CACHE_DIR", str(tmp_path / "file"))
    path = module.cubin_file(
        'extern "C" __global__ void f() {}', module.options_for("sm_80", 32)
    )
    assert path.is_file()
