"""Every command of the README and of the tour: run on the real stack, or checked where it cannot be run."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml
from getty_sandbox import __main__ as getty_sandbox
from local_stack.connections import GETTY, WAREHOUSE, Connection
from local_stack.options import Options

from tests.e2e.reader import IS_UP, TIMEOUT_SECONDS, Reader, Shows
from tests.waiting import wait_until

PROJECT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/tour.md")
_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`((?:make|docker|pip|airflow|psql|python|export|\.local/bin/\S+) [^`\n]*)`")


def commands(page: str) -> list[str]:
    """The commands of a page, in order; SQL is a command too."""
    text = (PROJECT / page).read_text()
    found = []
    for language, block in _FENCED.findall(text):
        lines = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
        if language in ("sh", "console", "bash"):
            found += [re.sub(r"\s+# .*", "", line) for line in lines if line]
        elif language == "sql":
            found += [re.sub(r";\s+--.*", ";", line) for line in lines if line]
    return found + _INLINE.findall(_FENCED.sub("", text))


@dataclass(frozen=True)
class Elsewhere:
    """A command that is not run here: why, and what is checked instead."""

    reason: str
    check: Callable[[str], object]


def is_a_target(command: str) -> None:
    """`make` knows the target and how to reach it."""
    subprocess.run([*command.split(), "--dry-run"], cwd=PROJECT, capture_output=True, check=True, timeout=60)


def is_understood(command: str) -> None:
    """`make run` takes these variables, and the sandbox its options."""
    given = dict(word.split("=", 1) for word in shlex.split(command)[2:])
    options = Options.read(given)
    assert set(given) <= {name.upper() for name in Options.__dataclass_fields__}
    if options.sandbox_options:
        getty_sandbox._options(getty_sandbox._parser().parse_args(["serve", *options.sandbox_options]))


def is_tested_end_to_end(command: str) -> None:
    """The shapes and faults of this command are among those whose warehouse is compared row for row."""
    from tests.e2e.test_e2e_sync import SHAPES

    is_understood(command)
    options = Options.read(dict(word.split("=", 1) for word in shlex.split(command)[2:])).sandbox_options
    pairs = set(zip(options[::2], options[1::2], strict=True))
    tested = [set(zip(words[::2], words[1::2], strict=True)) for words in map(shlex.split, SHAPES.values())]
    assert any(pairs <= each for each in tested)


def is_a_connection(command: str) -> None:
    """The connection is one that the stack, and so Airflow, can read; Getty's is the real one."""
    ((name, text),) = (word.split("=", 1) for word in shlex.split(command)[1:])
    connection = Connection.read(name, text)
    assert connection.password
    if name == GETTY:
        assert connection.login
        assert not connection.is_loopback()
    else:
        assert name == WAREHOUSE
        assert connection.warehouse_url().host == "host"


def has_its_files(command: str) -> None:
    """Each variable that the compose file requires is in the file to be filled in."""
    text = (PROJECT / "docker-compose.yaml").read_text()
    assert yaml.safe_load(text)["services"]
    example = (PROJECT / ".env.example").read_text()
    required = set(re.findall(r"\$\{(\w+):\?", text))
    assert required
    assert {name for name in required if not re.search(rf"^{name}=", example, re.MULTILINE)} == set()


def is_a_package(command: str) -> None:
    """What is to be installed is this folder."""
    assert "[build-system]" in (PROJECT / "pyproject.toml").read_text()


TARGET = Elsewhere("It is a target of its own, which takes minutes or deletes this environment.", is_a_target)
ACCOUNT = Elsewhere("It needs an account with Getty.", is_understood)
AGAIN = Shows(IS_UP)
LOADED = r"\(\d+ rows?\)"
REPLAY = (
    r'.local/bin/airflow dags trigger asset_changes_replay --conf "{\"replay_from\": \"$(date -u +%F)T00:00:00Z\", '
    r'\"replay_to\": \"$(date -u +%F)T23:59:59Z\"}"'
)
TRIGGER = ".local/bin/airflow dags trigger asset_changes_editorial_image_3001"
PSQL, LIVE = ".local/bin/psql", "getty_images.assets_with_metadata"
IDS = f"SELECT asset_id FROM {LIVE} WHERE channel_id = 3001 AND as_of IS NOT NULL AND asset_id ~ '^[0-9]+$' ORDER BY 1"
STARTED = r"asset_changes_\w+"

# In the order of the tour: what one command does, the next ones see.
CHECKS: dict[str, Shows | Elsewhere] = {
    "make run": Shows(IS_UP, again=True),
    '.local/bin/psql -c "SELECT asset_type, count(*) AS live FROM getty_images.assets GROUP BY 1"': Shows(
        r"Film +\| +\d+\n +Image +\| +\d+"
    ),
    '.local/bin/psql -c "SELECT asset_id, deleted_at FROM getty_images.deleted_assets ORDER BY deleted_at DESC LIMIT 3"': Shows(  # noqa: E501
        r"\(3 rows\)"
    ),
    f'.local/bin/psql -c "SELECT asset_type, count(*) AS live, count(as_of) AS with_metadata FROM {LIVE} GROUP BY 1"': Shows(  # noqa: E501
        r"Film +\| +\d+ \| +[1-9]\d*\n +Image +\| +\d+ \| +[1-9]", again=True
    ),
    f"{PSQL} -c "
    + rf'''"SELECT asset_id, title, as_of FROM {LIVE} WHERE keywords @> '[{{\"text\": \"Winter\"}}]' LIMIT 3"''': Shows(
        r"\(3 rows\)", again=True
    ),
    ".local/bin/airflow dags pause --yes asset_changes_lookup": Shows(r"asset_changes_lookup"),
    ".local/bin/airflow dags unpause --yes asset_changes_lookup": Shows(r"asset_changes_lookup"),
    f'.local/bin/sandbox delete $({PSQL} -tAc "{IDS} LIMIT 1")': Shows(r'"done":\s*"delete"'),
    f'{PSQL} -c "SELECT asset_id, received_at, applied_at, was_held FROM getty_images.deletions WHERE channel_id = 3001 ORDER BY applied_at DESC, position DESC LIMIT 3"': Shows(  # noqa: E501
        r"\| t\n", again=True
    ),
    f'{PSQL} -c "SELECT count(*) AS deleted, count(title) AS with_metadata FROM getty_images.deleted_assets LEFT JOIN getty_images.asset_metadata USING (asset_id)"': Shows(  # noqa: E501
        r" +[1-9]\d* \| +0\n"
    ),
    rf'id=$({PSQL} -tAc "{IDS} DESC LIMIT 1") && .local/bin/sandbox vanish $id && .local/bin/airflow dags trigger asset_changes_lookup --conf "{{\"asset_ids\": [\"$id\"]}}"': Shows(  # noqa: E501
        STARTED
    ),
    """grep -rhoE 'Looked up assets: [^"]*not_found=1 [^"]*' .local/airflow/logs/dag_id=asset_changes_lookup | sort""": Shows(  # noqa: E501
        r"asked=\d+ .* not_found=1 ", again=True
    ),
    f'{PSQL} -c "SELECT source, held_count, unreadable_count, unreadable_lines FROM getty_images.holding_imports ORDER BY import_id DESC LIMIT 1"': Shows(  # noqa: E501
        r"example \| +2300 \| +3 \| \{3,5,7\}"
    ),
    f'{PSQL} -c "SELECT reason, count(*), min(due_since) AS due_since FROM getty_images.assets_to_remove GROUP BY 1"': Shows(  # noqa: E501
        r"deleted \| +2\d"
    ),
    f""".local/bin/sandbox vanish $({PSQL} -tAc "SELECT asset_id FROM getty_images.held_assets JOIN getty_images.assets USING (asset_id) WHERE assets.asset_type = 'Image' ORDER BY 1 LIMIT 1")""": Shows(  # noqa: E501
        r'"done":\s*"vanish"'
    ),
    r'''.local/bin/airflow dags trigger asset_changes_lookup --conf "{\"not_asked_since\": \"$(date -u +%FT%TZ)\"}"''': Shows(  # noqa: E501
        STARTED
    ),
    f'{PSQL} -c "SELECT asset_id, verdict, as_of FROM getty_images.availability_checks JOIN getty_images.held_assets USING (asset_id)"': Shows(  # noqa: E501
        r"\d+ \| not_in_catalogue \| ", again=True
    ),
    f"""{PSQL} -c "SELECT plan_id, mode, outcome, asset_count, file_count, stores->'example'->>'held_back' AS held_back FROM getty_images.purge_plans ORDER BY 1 LIMIT 1\"""": Shows(  # noqa: E501
        r"dry_run \| listed +\| +[1-9]\d+ \| +[1-9]\d+ \| 1\n", again=True
    ),
    f'{PSQL} -c "SELECT key, size, reason, due_since FROM getty_images.purge_plan_files WHERE key IS NOT NULL ORDER BY plan_id, chunk, line LIMIT 3"': Shows(  # noqa: E501
        r"GettyImages-\d+\S* +\| +\d+ \| deleted"
    ),
    r""".local/bin/sandbox delete $(ls .local/files/images | sed -n 's/^GettyImages-\(50.*\)\.jpg$/\1/p' | head -60)""": Shows(  # noqa: E501
        r'"done":\s*"delete"'
    ),
    "make run ASSET_CHANGES_PURGE=on": AGAIN,
    ".local/bin/airflow dags trigger asset_changes_purge": Shows(STARTED),
    f'{PSQL} -c "SELECT result, is_gone, count(*), min(approved_by) AS approved_by FROM getty_images.purges GROUP BY 1, 2"': Shows(  # noqa: E501
        r"deleted +\| t +\| +9\d \| \w+\n", again=True, before=Reader.approves
    ),
    f'{PSQL} -c "SELECT asset_id, reason, due_since, held_back_by FROM getty_images.assets_to_remove"': Shows(
        r"deleted +\| [^|]+\| legal\n\(1 row\)", again=True
    ),
    f'ls .local/files/*/GettyImages-$({PSQL} -tAc "SELECT asset_id FROM getty_images.purge_holds")*': Shows(
        r"files/(images|films)/GettyImages-\S+\n$"
    ),
    f".local/bin/kill-task & {TRIGGER}; wait": Shows(r"Killed process \d+, a task that was running"),
    '.local/bin/psql -c "SELECT count(*) AS sets, count(*) FILTER (WHERE confirmed_at IS NULL) AS unconfirmed FROM getty_images.change_sets"': Shows(  # noqa: E501
        r" +\d+ \| +0\n", again=True
    ),
    """.local/bin/sandbox append 3001 '{"id": "42", "asset_lifecycle": "Misplaced"}' '{"asset_lifecycle": "New"}'""": Shows(  # noqa: E501
        r'"done":\s*"append"'
    ),
    TRIGGER: Shows(STARTED),
    '.local/bin/psql -c "SELECT reason, raw FROM getty_images.rejected_changes ORDER BY rejected_at DESC, position LIMIT 2"': Shows(  # noqa: E501
        r'unknown_lifecycle \| {"id": "42", "asset_lifecycle": "Misplaced"}\n +unusable_id +\| {"asset_lifecycle": "New"}',  # noqa: E501
        again=True,
    ),
    ".local/bin/sandbox fail half_json --channel-id 3001": Shows(r'"done":\s*"faults"'),
    '.local/bin/psql -c "DELETE FROM getty_images.asset_states WHERE channel_id = 3001"': Shows(r"DELETE [1-9]\d*"),
    REPLAY: Shows(STARTED),
    r"""grep -rhoE 'Replayed channel=[^"]*' .local/airflow/logs/dag_id=asset_changes_replay | sort""": Shows(
        r"Replayed channel=3001: sets=\d+ changes=\d+ changed=[1-9]\d* ", again=True
    ),
    'day=$(date -u -d yesterday +%F 2>/dev/null || date -u -v-1d +%F) && .local/bin/airflow backfill create --dag-id asset_changes_replay --from-date "${day}T00:00:00Z" --to-date "${day}T00:00:00Z" --reprocess-behavior completed': Shows(  # noqa: E501
        r"", again=True
    ),
    "SELECT asset_type, count(*) FROM getty_images.assets GROUP BY 1;": Shows(LOADED),
    "SELECT asset_id, deleted_at FROM getty_images.deleted_assets LIMIT 10;": Shows(r"\(10 rows\)"),
    "SELECT * FROM getty_images.asset_history LIMIT 10;": Shows(r"\(10 rows\)"),
    """SELECT asset_id, title FROM getty_images.assets_with_metadata WHERE keywords @> '[{"text": "Winter"}]' LIMIT 10;""": Shows(  # noqa: E501
        r"\(10 rows\)", again=True
    ),
    "make help": Shows(r"make run +Set everything up"),
    "make test": TARGET,
    "make clean": TARGET,
    "make e2e-celery": TARGET,
    'make run UNTIL_CAUGHT_UP=1 STATE_DIR=/tmp/difficult SANDBOX_OPTIONS="--keys camel --empty 204 --fault-rate 0.1"': Elsewhere(  # noqa: E501
        "The end-to-end run does the same and compares every row.", is_tested_end_to_end
    ),
    """export AIRFLOW_CONN_GETTY_IMAGES_DEFAULT='{"conn_type": "getty_images", "login": "YOUR_API_KEY", "password": "YOUR_SECRET"}'""": Elsewhere(  # noqa: E501
        "It needs an account with Getty.", is_a_connection
    ),
    "make run STATE_DIR=.local-getty": ACCOUNT,
    "make run STATE_DIR=.local-getty CONFIRM=1": ACCOUNT,
    "export AIRFLOW_CONN_WAREHOUSE_DEFAULT='postgresql://user:password@host:5432/database'": Elsewhere(
        "It names a server of the reader's own.", is_a_connection
    ),
    "docker compose up": Elsewhere("It needs Docker.", has_its_files),
    "pip install --no-deps .": Elsewhere("It would change this environment.", is_a_package),
}


def test_every_command_of_readme_and_tour_is_tested() -> None:
    written = {command for page in PAGES for command in commands(page)}
    assert written == set(CHECKS)


@pytest.mark.parametrize("command", [each for each, check in CHECKS.items() if isinstance(check, Elsewhere)])
def test_a_command_that_is_not_run_here_would_work(command: str) -> None:
    check = CHECKS[command]
    assert isinstance(check, Elsewhere)
    check.check(command)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader whose `make run` is up, which ends by Ctrl-C and leaves no process."""
    reader = Reader(state_dir=tmp_path_factory.mktemp("readme") / "state")
    try:
        reader.starts("make run")
        yield reader
    finally:
        reader.leaves()


@pytest.mark.e2e
def test_the_commands_show_what_the_pages_say(reader: Reader) -> None:
    for command in commands("docs/tour.md") + commands("README.md"):
        check = CHECKS.get(command)
        if command == "make run" or not isinstance(check, Shows):
            continue
        if check is AGAIN:
            reader.starts(command)
            continue
        wait_until(
            partial(reader.sees, command, check), what=f"what {command} shows", seconds=TIMEOUT_SECONDS, pause=1,
            details=partial(reader.types, command),
        )  # fmt: skip
