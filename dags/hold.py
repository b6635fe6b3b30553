"""Make an exception from the purge: hold files back, release them, or waive a duty to remove them."""

from typing import Any

from airflow.sdk import Param, dag, task
from getty_images.defaults import DEFAULT_ARGS, START_DATE, TAG

_DOC = """
Keeps the files of assets although they must go, or ends such an exception. Trigger it with the ids; who did it and why
is kept.

* **hold**: no purge deletes their files, until `until` or a release. The duty to remove stays open and is shown as held
  back. It works beforehand too, for an asset that is still live. Once the task is green, nothing more is deleted; if
  files were deleted meanwhile, its log says of which assets.
* **release**: ends the holds of one owner. Holds of other owners stay.
* **waive**: ends the open duty to remove, for good: nothing is deleted and nothing is listed as due. A later Delete is
  a new duty. The row cannot be taken back.
* **When a task is red**, the last line of its log says what is wrong with the form; nothing was changed.
* **What it writes**: `purge_holds`, `purge_waivers`.
"""


@dag(
    dag_id="asset_changes_hold",
    dag_display_name="Hold or release",
    description="Holds files back from the purge, releases them, or waives a duty",
    doc_md=_DOC,
    schedule=None,
    start_date=START_DATE,
    catchup=False,
    max_active_runs=4,
    allowed_run_types=["manual"],  # type: ignore[list-item]  # their enum is private
    tags=[TAG, "removal"],
    params={
        "asset_ids": Param(
            [],
            type="array",
            items={"type": "string", "minLength": 1, "maxLength": 255},
            maxItems=10_000,
            title="Assets",
            description="Their ids, one per line.",
        ),
        "action": Param(
            "hold",
            type="string",
            enum=["hold", "release", "waive"],
            title="Action",
            description="Hold their files back, release them, or end the duty to remove them for good.",
        ),
        "reason": Param(
            "",
            type="string",
            title="Reason",
            description="Why, in words: a case number, a contract. It is kept and shown.",
        ),
        "until": Param(
            None,
            type=["string", "null"],
            format="date-time",
            title="Until",
            description="When the hold ends by itself. Empty: only by a release.",
        ),
        "owner": Param(
            None,
            type=["string", "null"],
            maxLength=100,
            title="For whom",
            description="A person or a department; the same one releases it. Empty: you.",
        ),
        "source": Param(
            None,
            type=["string", "null"],
            title="Source",
            description="Waive the duty in this list or store alone. Empty: in all.",
        ),
    },
    default_args=DEFAULT_ARGS,
)
def hold() -> None:
    @task(multiple_outputs=False)
    def decide(**context: Any) -> dict[str, int]:
        """Write the exception, with who made it and why."""
        from getty_images.tasks import hold

        return hold.decide(context)

    decide()


hold()
