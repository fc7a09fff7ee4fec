"""The page's table of who finds whom, from the measurements of towers."""

from compress.reporting.retrieval import retrieval_parts


def metric(value: float) -> dict:
    return {"value": value, "unit": "fraction", "samples": 4}


def test_directions_make_lines_and_all_else_stays_a_metric():
    names = ("recall_at_5", "image_to_text_recall_at_1", "image_to_text_recall_at_5", "among_the_teacher_image_to_text_recall_at_1")
    given = {
        model: {"metrics": {name: metric(i + place) for i, name in enumerate(names)}} for place, model in enumerate(("teacher", "fp32"))
    }
    parts = retrieval_parts(given, ["teacher", "fp32"], shipped="fp32")
    assert parts["metrics"] == {"recall_at_5": "fraction"} and parts["retrieval"]["columns"] == ["recall at 1", "recall at 5"]
    assert parts["retrieval"]["rows"] == [
        {"place": ("image to text", "its own", "teacher"), "values": [1, 2]},
        {"place": ("image to text", "its own", "fp32"), "values": [2, 3]},
        {"place": ("image to text", "the teacher's", "teacher"), "values": [3]},
        {"place": ("image to text", "the teacher's", "fp32"), "values": [4]},
    ]


def test_a_run_without_towers_has_no_such_table():
    assert retrieval_parts({"fp32": {"metrics": {"recall_at_5": metric(1)}}}, ["fp32"], shipped="fp32")["retrieval"] is None
    assert retrieval_parts({"fp32": {}}, ["fp32"], shipped="fp32") == {"metrics": {}, "retrieval": None}
