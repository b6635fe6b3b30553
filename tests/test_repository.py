"""The repository's own files: the CI workflow, the hooks before a commit, and what they run."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[1]
WORKFLOW = PROJECT / ".github/workflows/ci.yaml"
HOOKS = PROJECT / ".pre-commit-config.yaml"
MAKEFILE = (PROJECT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.MULTILINE))


def module(name: str, *arguments: str) -> None:
    """Run a module of the environment; it must succeed."""
    done = subprocess.run([sys.executable, "-m", name, *arguments], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def jobs() -> dict[str, Any]:
    """Return the jobs of the workflow by name."""
    workflow: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())
    return dict(workflow["jobs"])


def commands(job: dict[str, Any]) -> list[str]:
    """Return the commands of a job, once for each value of its matrix."""
    found = [step["run"] for step in job["steps"] if "run" in step]
    for name, values in job.get("strategy", {}).get("matrix", {}).items():
        found = [each.replace(f"${{{{ matrix.{name} }}}}", value) for each in found for value in values]
    return found


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("github-workflows", WORKFLOW),
        ("github-issue-forms", PROJECT / ".github/ISSUE_TEMPLATE/bug.yaml"),
        ("github-issue-forms", PROJECT / ".github/ISSUE_TEMPLATE/feature.yaml"),
        ("github-issue-config", PROJECT / ".github/ISSUE_TEMPLATE/config.yml"),
        ("compose-spec", PROJECT / "docker-compose.yaml"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_files_keep_to_their_published_schema(schema: str, file: Path) -> None:
    module("check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(file))


def test_the_ci_runs_targets_that_the_makefile_has() -> None:
    ran = {command.split()[1] for job in jobs().values() for command in commands(job) if command.startswith("make ")}
    assert ran == {"lint", "test", "e2e", "e2e-celery"}
    assert ran <= TARGETS


def test_the_ci_tests_every_supported_python() -> None:
    oldest = re.findall(r'^requires-python = ">=([\d.]+)"$', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE)
    versions = jobs()["test"]["strategy"]["matrix"]["python"]
    assert versions[0] == oldest[0]
    assert [tuple(map(int, each.split("."))) for each in versions] == [(3, minor) for minor in range(11, 14)]


def test_every_job_of_the_ci_ends_by_itself() -> None:
    assert all(job["timeout-minutes"] <= 60 for job in jobs().values())


def test_hooks_need_nothing_but_the_environment() -> None:
    """No hook is downloaded: each runs a program of `.venv`, so commits work offline."""
    module("pre_commit", "validate-config", str(HOOKS))
    pinned = (PROJECT / "requirements-dev.txt").read_text()
    for repository in yaml.safe_load(HOOKS.read_text())["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            program = hook["entry"].split()[0].removeprefix(".venv/bin/")
            assert hook["language"] == "system"
            assert program == "python" or re.search(rf"^{program}==", pinned, re.MULTILINE), program


def test_hooks_check_what_make_lint_checks() -> None:
    [recipe] = re.findall(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    checks = re.findall(r"^\t\$\(BIN\)/(\S+(?: check| format)?)", recipe, re.MULTILINE)
    hooks = yaml.safe_load(HOOKS.read_text())["repos"][0]["hooks"]
    entries = [hook["entry"].removeprefix(".venv/bin/") for hook in hooks]
    assert len(checks) >= 5
    assert [check for check in checks if not any(entry.startswith(check) for entry in entries)] == []


def test_the_contributors_guide_names_targets_that_exist() -> None:
    named = set(re.findall(r"make ([a-z0-9-]+)", (PROJECT / "CONTRIBUTING.md").read_text()))
    assert {"lint", "test"} <= named <= TARGETS


def test_the_contributors_guide_describes_every_test_folder() -> None:
    folders = {path.name for path in (PROJECT / "tests").iterdir() if path.is_dir() and not path.name.startswith("__")}
    described = set(re.findall(r"^\| `(\w+)` \|", (PROJECT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    assert described == folders, json.dumps(sorted(described ^ folders))


def test_the_readme_is_short_and_has_a_glossary_of_ten_words() -> None:
    readme = (PROJECT / "README.md").read_text()
    prose = re.sub(r"```.*?```", "", readme[: readme.index("\n| ")], flags=re.DOTALL)
    assert len(re.sub(r"\]\([^)]*\)", "]", prose).split()) <= 900
    glossary = re.findall(r"^## Ten words\n(.*?)^## ", readme, re.MULTILINE | re.DOTALL)[0]
    assert len(re.findall(r"\*\*([\w ]+)\*\*", glossary)) == 10
