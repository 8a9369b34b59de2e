"""JSON Schemas of the files that other programs read, generated from the types: `python -m trajkit.schema FOLDER`."""

import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from trajkit import files
from trajkit.ledger import Row
from trajkit.members import Record, adapter
from trajkit.score import ScoreRecord
from trajkit.shard_plan import PlanRecord
from trajkit.shards import Index

# name/version -> type; schemas/FORMAT.md says in words what each means
CONTRACTS = {"clip/1": Record, "ledger/1": Row, "plan/1": PlanRecord, "score/1": ScoreRecord, "shard/1": Index}


class _Plain(GenerateJsonSchema):
    """Without a title that repeats each field's name; a map whose keys have a pattern takes no others."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def dict_schema(self, schema: Any) -> dict[str, Any]:
        body = super().dict_schema(schema)
        return body | {"additionalProperties": False} if "patternProperties" in body else body


def json_schema(contract: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a contract such as "clip/1"; its $id ends in the version."""
    body = adapter(CONTRACTS[contract]).json_schema(schema_generator=_Plain)
    return {"$schema": GenerateJsonSchema.schema_dialect, "$id": f"urn:trajkit:{contract}", **body}


def write(folder: Path) -> list[Path]:
    """Writes `<name>.schema.json` of every contract into the folder; returns their paths."""
    paths = []
    for contract in CONTRACTS:
        paths.append(folder / f"{contract.partition('/')[0]}.schema.json")
        files.write_bytes(paths[-1], files.json_bytes(json_schema(contract)))
    return paths


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "schemas"))
