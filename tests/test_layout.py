"""The layout: dags -> plugins -> include, never back; names that collide with nothing; modules of a few screens."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PRODUCT = ("include/asset_changes", "plugins", "dags")
HEAVY = ("alembic", "numpy", "pandas", "psycopg", "requests", "sqlalchemy")
# Folders whose names keep to the whole list of words, and whose tests have short names. The others follow.
PLAIN_FOLDERS = (
    *PRODUCT,
    "include/getty_sandbox",
    "include/local_stack",
    "benchmarks",
    "tests/chaos",
    "tests/cluster",
    "tests/core",
    "tests/dags",
    "tests/e2e",
    "tests/e2e_celery",
    "tests/local_stack",
    "tests/model",
    "tests/provider",
    "tests/sandbox",
    "tests/status",
    "tests/stores",
    "tests/watch",
)
# The packages of the core: each imports only what is in its own row or further down, the first row not each other.
CORE_LAYERS = (
    {"pipeline", "lookup", "removal", "monitoring"},
    {"warehouse", "getty_api", "archive"},
    {"archived_sets", "channel_registry", "clock", "errors", "file_store_settings", "metrics", "models", "settings"},
)
_LONGEST_TEST_NAME = 59
# No name of a module, class, function or parameter: each has a better word in this domain.
_VAGUE_WORDS = {
    "ack", "batch", "dump", "event", "events", "handler", "handlers", "helper", "helpers", "manager", "managers",
    "process", "record", "records", "utils",
}  # fmt: skip
# No name at all, of a variable neither: figures of speech that a newcomer has to guess.
_FIGURATIVE_WORDS = {
    "beside", "blindness", "but", "heard", "mend", "mended", "mends", "moment", "perils", "settle", "settled",
    "settles", "stands", "stranded", "tell", "tells", "told", "unstamped",
}  # fmt: skip
_FIGURATIVE_PHRASES = ("in_hand", "goes_on")
# What "context" and "stored" were called before; as part of a name they may mean what they say.
_FORMER_NAMES = {"held", "steps", "steps_of"}
# The same words in sentences; "but" and "moment" mean there what they always mean.
_FIGURATIVE_PROSE = re.compile(
    r"\b(blindness|goes on|heard|in hand|mend(s|ed)?|settle[sd]?|stands|stranded|tells?|told|unstamped)\b",
    re.IGNORECASE,
)
_ALIASES = {"NotTold"}  # what a name was before, for whoever has it
# What the standard library calls so: a method that overrides its own, an operating system's process. And a verb.
_STANDARD_NAMES = {"event", "process", "process_request", "record_in_ledger"}  # the parameter of an operator is one
# No file names them: an index or a machine that only its author has.
_PRIVATE = re.compile(
    r"py[p]i\.org|python[h]osted|--(extra-)?index-url|(?<![\w.])/(root|home/(?!me/)\w+|work|Users/\w+)/|/tmp/venv",
    re.IGNORECASE,
)


def modules(*folders: str) -> list[Path]:
    """Return the Python files below these folders."""
    return sorted(path for folder in folders for path in (PROJECT / folder).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text())


def imports(path: Path, *, at_module_level: bool = False) -> set[str]:
    """Return the modules that a file imports, anywhere or while it is imported itself."""
    found = set()
    for node in _loaded(tree(path)) if at_module_level else ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def _loaded(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs on import: all but the bodies of functions and what is for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _loaded(child)


def reaching(folders: tuple[str, ...], *banned: str) -> dict[str, set[str]]:
    """Return the files below the folders that import what they may not."""
    found = {
        path.relative_to(PROJECT).as_posix(): {name for name in imports(path) if name.split(".")[0] in banned}
        for path in modules(*folders)
    }
    return {path: names for path, names in found.items() if names}


def test_the_core_imports_nothing_that_is_built_on_it() -> None:
    banned = ("airflow", "getty_images", "getty_sandbox", "local_stack", "tests")
    assert reaching(("include/asset_changes",), *banned) == {}


def test_packages_of_the_core_import_downwards() -> None:
    core, layer_of = PROJECT / "include/asset_changes", {name: n for n, row in enumerate(CORE_LAYERS) for name in row}
    wrong = set()
    for path in modules("include/asset_changes"):
        package = path.relative_to(core).parts[0].removesuffix(".py")
        imported = {name.split(".")[1] for name in imports(path) if name.startswith("asset_changes.")}
        for other in (imported & set(layer_of)) - {package}:
            own_layer = layer_of.get(package, -1)  # the package's own `__init__`, which may import all
            is_across = own_layer == layer_of[other] == 0
            if layer_of[other] < own_layer or is_across:
                wrong.add(f"{path.relative_to(core)} imports {other}")
    packages = {path.relative_to(core).parts[0].removesuffix(".py") for path in modules("include/asset_changes")}
    assert wrong == set()
    assert packages - set(layer_of) == {"__init__"}


def test_the_sandbox_imports_nothing_of_the_product() -> None:
    banned = ("asset_changes", "getty_images", "local_stack", "airflow", "tests")
    assert reaching(("include/getty_sandbox",), *banned) == {}


def test_plugins_and_dags_import_nothing_of_the_sandbox() -> None:
    assert reaching(("plugins", "dags"), "getty_sandbox", "local_stack", "dags", "tests") == {}


def test_the_hook_knows_nothing_of_sql() -> None:
    hook = PROJECT / "plugins/getty_images/hook.py"
    assert not {name for name in imports(hook) if name.startswith(("sqlalchemy", "psycopg", "asset_changes.warehouse"))}


@pytest.mark.parametrize("path", modules("dags"), ids=lambda path: path.name)
def test_parsing_a_dag_file_loads_no_heavy_library(path: Path) -> None:
    seen, waiting = set(), [path]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        names = imports(file, at_module_level=True)
        heavy = {name for name in names if name.split(".")[0] in HEAVY}
        assert not heavy, f"{file.relative_to(PROJECT)} imports {heavy}"
        waiting += [own for name in names for own in _own_files(name)]
    assert len(seen) > 1


def _own_files(name: str) -> list[Path]:
    parts = name.split(".")
    found = []
    for root in ("include", "plugins"):
        for length in range(1, len(parts) + 1):
            stem = PROJECT / root / Path(*parts[:length])
            found += [file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.exists()]
    return found


def test_no_dag_or_plugin_file_takes_the_name_of_another_module() -> None:
    packages = {path.name for root in ("include", "plugins") for path in (PROJECT / root).iterdir() if path.is_dir()}
    stems = [path.stem for folder in ("dags", "plugins") for path in (PROJECT / folder).glob("*.py")]
    assert len(stems) == len(set(stems))
    assert not set(stems) & (packages | set(sys.stdlib_module_names) | {"airflow", *HEAVY})


def test_airflow_does_not_load_the_provider_as_plugin_files() -> None:
    assert "getty_images/*" in (PROJECT / "plugins/.airflowignore").read_text().splitlines()


@pytest.mark.parametrize(
    ("file", "statement", "rule"),
    [
        ("include/asset_changes/new.py", "import airflow", "TID251"),
        ("include/asset_changes/new.py", "from getty_images import resources", "TID251"),
        ("include/asset_changes/warehouse/new.py", "from airflow.sdk import Variable", "TID251"),
        ("include/getty_sandbox/new.py", "from asset_changes.models import Channel", "TID251"),
        ("plugins/getty_images/new.py", "import getty_sandbox", "TID251"),
        ("dags/new.py", "import pandas", "TID253"),
        ("dags/new.py", "from sqlalchemy import text", "TID253"),
        ("dags/new.py", "from getty_images import resources", "TID253"),
        ("dags/new.py", "import local_stack", "TID251"),
        ("plugins/getty_images/new.py", "assert True", "S101"),
    ],
)
def test_ruff_refuses_what_this_file_refuses(file: str, statement: str, rule: str) -> None:
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--no-cache",
        "--output-format=concise",
        "--stdin-filename",
        file,
        "-",
    ]
    output = subprocess.run(command, cwd=PROJECT, input=statement, capture_output=True, text=True, check=False)
    assert rule in output.stdout


def test_the_product_asserts_only_what_types_cannot_say() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{node.lineno}"
        for path in modules(*PRODUCT)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Assert) and "noqa: S101" not in path.read_text().splitlines()[node.lineno - 1]
    ]
    assert found == []


@pytest.mark.parametrize("folder", [*PRODUCT, "include/getty_sandbox", "include/local_stack"])
def test_every_module_fits_on_a_few_screens(folder: str) -> None:
    lengths = {path.relative_to(PROJECT).as_posix(): len(path.read_text().splitlines()) for path in modules(folder)}
    assert {path: length for path, length in lengths.items() if length > 350} == {}


@pytest.mark.parametrize("folder", PRODUCT)
def test_everything_public_has_a_docstring(folder: str) -> None:
    silent = []
    for path in modules(folder):
        if "versions" in path.parts or (path.name == "__init__.py" and not path.read_text()):
            continue
        nodes: list[ast.Module | ast.ClassDef | ast.FunctionDef] = [tree(path)]
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                nodes.append(node)
                nodes += [
                    each
                    for each in node.body
                    if isinstance(node, ast.ClassDef)
                    and isinstance(each, ast.FunctionDef)
                    and not each.name.startswith("_")
                ]
        silent += [
            f"{path.relative_to(PROJECT)}: {getattr(node, 'name', 'the module')}"
            for node in nodes
            if not ast.get_docstring(node) and not _is_dag(node)
        ]
    assert silent == []


def _is_dag(node: ast.AST) -> bool:
    """Whether it is a function that makes a DAG: its text is the DAG's `doc_md`."""
    return isinstance(node, ast.FunctionDef) and any("dag" in ast.unparse(each) for each in node.decorator_list)


def _names(path: Path, *, with_variables: bool) -> Iterator[str]:
    """Yield the names that a module gives: its own, those of classes, functions and parameters, and of variables."""
    yield path.stem
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif with_variables and isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def _words(name: str) -> set[str]:
    without = re.sub("batch_?size", "", name, flags=re.IGNORECASE)
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", without)}


def _is_figurative(name: str) -> bool:
    words = _words(name) - ({"but"} if name.startswith("test_") else set())  # a test's name is a clause
    return (
        name in _FORMER_NAMES
        or bool(words & _FIGURATIVE_WORDS)
        or any(phrase in name for phrase in _FIGURATIVE_PHRASES)
    )


@pytest.mark.parametrize("folder", PLAIN_FOLDERS)
def test_names_keep_to_the_words_of_the_domain(folder: str) -> None:
    """No module, class, function or parameter has a vague name; "process" alone is an operating system's."""
    assert [
        f"{path.relative_to(PROJECT)}: {name}"
        for path in modules(folder)
        for name in _names(path, with_variables=False)
        if _words(name) & _VAGUE_WORDS and name not in _STANDARD_NAMES and not name.startswith("test_")
    ] == []


@pytest.mark.parametrize("folder", PLAIN_FOLDERS)
def test_names_are_plain(folder: str) -> None:
    """No name, that of a variable included, is a figure of speech."""
    assert [
        f"{path.relative_to(PROJECT)}: {name}"
        for path in modules(folder)
        for name in _names(path, with_variables=True)
        if _is_figurative(name) and name not in _ALIASES
    ] == []


@pytest.mark.parametrize("folder", [each for each in PLAIN_FOLDERS if each.startswith("tests/")])
def test_names_of_tests_are_short(folder: str) -> None:
    assert [
        f"{path.relative_to(PROJECT)}: {name}"
        for path in modules(folder)
        for name in _names(path, with_variables=False)
        if name.startswith("test_") and len(name) > _LONGEST_TEST_NAME
    ] == []


def _git(*arguments: str) -> str:
    git = shutil.which("git")
    if git is None or not (PROJECT / ".git").exists():
        pytest.skip("the files are listed by git, in a checkout")
    return subprocess.run([git, *arguments], cwd=PROJECT, capture_output=True, text=True, check=True).stdout


def test_sentences_are_plain() -> None:
    listed = [PROJECT / name for name in _git("ls-files", "*.md", "*.py", "*.html").splitlines()]
    # The changelog quotes what things were called, and a migration is never changed.
    exempt = {PROJECT / "CHANGELOG.md", Path(__file__)}
    assert {
        f"{path.relative_to(PROJECT)}: {found.group()}"
        for path in listed
        if path not in exempt and path.is_file() and path.parent.name != "versions"
        for found in _FIGURATIVE_PROSE.finditer(path.read_text())
    } == set()


def test_no_file_names_an_index_or_a_place_of_one_machine() -> None:
    listed = _git("ls-files")
    files = [PROJECT / name for name in listed.splitlines() if Path(name) != Path("tests/test_layout.py")]
    texts = {path: path.read_text(errors="replace") for path in files if path.is_file()}
    assert {
        str(path.relative_to(PROJECT)): found.group()
        for path, text in texts.items()
        if (found := _PRIVATE.search(text))
    } == {}
