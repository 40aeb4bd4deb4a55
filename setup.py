"""Only what pyproject.toml cannot say: the C extension and its stable-ABI tag."""

from setuptools import setup

setup(
    cffi_modules=["src/phasic_models/core/build_core.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
