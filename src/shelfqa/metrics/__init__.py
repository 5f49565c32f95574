"""Scores of short answers: a table of names, each loaded when asked for.

An entry is something that, called without arguments, returns a `shelfqa.metrics.base.Metric`; the first line of its
docstring says what it measures.
"""

from __future__ import annotations

from shelfqa.registry import Registry

METRICS = Registry(
    "metric",
    {
        "exact_match": "shelfqa.metrics.exact:ExactMatch",
        "token_precision": "shelfqa.metrics.overlap:TokenPrecision",
        "token_recall": "shelfqa.metrics.overlap:TokenRecall",
        "token_f1": "shelfqa.metrics.overlap:TokenF1",
        "token_f1_sets": "shelfqa.metrics.overlap:TokenF1Sets",
        "vqa_accuracy": "shelfqa.metrics.vqa_accuracy:VqaAccuracy",
        "bleu": "shelfqa.metrics.bleu:bleu",
        "bleu_1": "shelfqa.metrics.bleu:bleu_1",
        "rouge_1": "shelfqa.metrics.rouge:Rouge1",
        "rouge_l": "shelfqa.metrics.rouge:RougeL",
        "meteor": "shelfqa.metrics.meteor:Meteor",
        "wu_palmer": "shelfqa.metrics.wu_palmer:wu_palmer",
        "wu_palmer_any_sense": "shelfqa.metrics.wu_palmer:WuPalmerAnySense",
        "wups_00": "shelfqa.metrics.wu_palmer:wups_00",
        "wups_09": "shelfqa.metrics.wu_palmer:wups_09",
        "wups_weighted": "shelfqa.metrics.wu_palmer:wups_weighted",
        "levenshtein": "shelfqa.metrics.strings:Levenshtein",
        "anls": "shelfqa.metrics.strings:Anls",
        "attribute_match": "shelfqa.metrics.attributes:AttributeMatch",
        "average_mark": "shelfqa.metrics.average_mark:AverageMark",
        "macro_precision": "shelfqa.metrics.macro:macro_precision",
        "macro_recall": "shelfqa.metrics.macro:macro_recall",
        "macro_f1": "shelfqa.metrics.macro:macro_f1",
        "top_1": "shelfqa.metrics.top_k:top_1",
        "top_3": "shelfqa.metrics.top_k:top_3",
        "top_5": "shelfqa.metrics.top_k:top_5",
        "bertscore_precision": "shelfqa.metrics.bertscore:BertScorePrecision",
        "bertscore_recall": "shelfqa.metrics.bertscore:BertScoreRecall",
        "bertscore_f1": "shelfqa.metrics.bertscore:BertScoreF1",
        "sbert_cosine": "shelfqa.metrics.sbert:SbertCosine",
        "bartscore_precision": "shelfqa.metrics.bartscore:BartScorePrecision",
        "bartscore_recall": "shelfqa.metrics.bartscore:BartScoreRecall",
        "bartscore": "shelfqa.metrics.bartscore:BartScore",
        "judge": "shelfqa.metrics.judge:Judge",
    },
)

DEFAULT_METRICS = ("exact_match", "token_f1", "top_3", "top_5")
"""What `score` computes unless told otherwise; those that the table has no columns for are left out."""
