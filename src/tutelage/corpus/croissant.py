"""The data card as Croissant 1.1 (mlcommons.org/croissant), with the steps as PROV-O activities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.corpus.document import COLUMNS
from tutelage.store.hashing import sha256_file

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_SAID = {
    "id": "Hash of source, name and text as it was read; the same through every step.",
    "text": "What a model reads.",
    "source": "File or package that the document is from.",
    "name": "Title, or place in its source.",
    "kind": "What kind of text it is: text, lines, code, function ...",
    "signature": "Of documents that describe a function.",
    "summary": "First sentence of documents that describe a function.",
    "label": "Label of a row, or name of the folder.",
    "whole": "The longer text that the document is a piece of.",
}


def croissant(card: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The card of a corpus whose Parquet files lie in a folder, as JSON-LD."""
    steps = card["steps"]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": card["source"],
        "description": f"{card['documents']:,} documents selected from {steps[0]['documents_in']:,} by Tutelage.",
        "size": f"{card['bytes']} bytes",
        "distribution": [_file(folder / f"{side}.parquet") for side in ("train", "heldout")],
        "recordSet": [_records(side, card[side]["documents"]) for side in ("train", "heldout")],
        "prov:wasDerivedFrom": {
            "@type": "prov:Entity", "name": card["source"], "description": f"{card['files']:,} files",
        },
        "prov:wasGeneratedBy": [_activity(number, step) for number, step in enumerate(steps, 1)],
        "rai:dataPreprocessingProtocol": [f"{step['name']}: {step['what']}" for step in steps],
    }  # fmt: skip


def _file(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject", "@id": path.name, "name": path.name, "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B", "encodingFormat": "application/x-parquet",
        "sha256": sha256_file(path),
    }  # fmt: skip


def _records(side: str, count: int) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field", "@id": f"{side}/{column}", "name": column, "description": _SAID[column],
            "dataType": "sc:Text", "source": {"fileObject": {"@id": f"{side}.parquet"}, "extract": {"column": column}},
        }
        for column in COLUMNS
    ]  # fmt: skip
    return {
        "@type": "cr:RecordSet", "@id": side, "name": side, "description": f"{count:,} documents.",
        "key": {"@id": f"{side}/id"}, "field": fields,
    }  # fmt: skip


def _activity(number: int, step: dict[str, Any]) -> dict[str, Any]:
    """A step as what it used and what it made."""
    removed = ", ".join(f"{reason} {count:,}" for reason, count in step["removed"].items()) or "nothing"
    return {
        "@type": "prov:Activity", "@id": f"#step-{number}", "name": step["name"],
        "description": f"{step['what']} {step['documents_in']:,} documents in, {step['documents_out']:,} out; removed: "
        f"{removed}.",
    }  # fmt: skip
