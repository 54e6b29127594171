"""Every layout of the text tasks. Oracles: the counts that the data sets' authors published, where the sets are there,
and otherwise or besides, what was written into small files of the same form."""

import gzip
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ostinato.data import Layout, Table, read_dataset

DATA = Path(__file__).parents[3] / "shared" / "data"
Counts = tuple[int, ...]


class Case(NamedTuple):
    layout: dict[str, Any]
    real: tuple[Counts, ...]  # train, valid, test: rows and, of token columns, tokens
    small: tuple[Counts, ...]
    files: dict[str, str]  # the small files


def jsonl(n: int) -> str:
    return "".join(f'{{"label": {i % 2}, "id": {i}, "text": "a {i} <br /> \\"b\\""}}\n' for i in range(n))


CONLLU = "# text = I do\n1-2\tI'do\t_\t_\t_\t_\t_\t_\t_\t_\n" + "".join(
    f"{number}\t{form}\t{form}\t{tag}\t_\t_\t0\troot\t_\t_\n"
    for number, form, tag in [("1", "I", "PRON"), ("2", "do", "AUX"), ("2.1", "go", "VERB")]
)
NER = "-DOCSTART- -X- -X- O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\n"
CASES = {
    "imdb": Case(
        {"columns": ("text", "label"), "stratify": "label"},
        ((22500,), (2500,), (25000,)),
        ((18,), (2,), (10,)),
        {"train.jsonl.gz": jsonl(20), "test.jsonl.gz": jsonl(10)},
    ),
    "mr": Case(
        {"format": "files", "folds": 10, "fold": 3, "stratify": "label"},
        ((8636,), (960,), (1066,)),
        ((16,), (2,), (2,)),
        {"rt-polarity.neg": 'so "bad" .\n' * 10, "rt-polarity.pos": "so good .\n" * 10},
    ),
    "trec": Case(
        {},
        ((4907,), (545,), (500,)),
        ((9,), (1,), (2,)),
        {"TREC.train.all": "0 What is it ?\n" * 10, "TREC.test.all": "1 Who ?\n" * 2},
    ),
    "sst": Case(
        {"train": "stsa.binary.train", "valid": "stsa.binary.dev", "test": "stsa.binary.test"},
        ((6920,), (872,), (1821,)),
        ((3,), (2,), (1,)),
        {
            **{f"stsa.binary.{part}": "1 fine \xa0 .\n" * n for part, n in (("train", 3), ("dev", 2), ("test", 1))},
            "stsa.fine.train": "4 x\n",
        },
    ),
    "chnsenticorp": Case(
        {"columns": {"text": "text_a", "label": "label"}},
        ((9600,), (1200,), (1200,)),
        ((2,), (1,), (1,)),
        {
            "train.tsv.gz": 'label\ttext_a\n1\t"好\n0\t坏"""\n',
            "dev.tsv.gz": "label\ttext_a\n1\t好\n",
            "test.tsv.gz": "label\ttext_a\n1\t好",
        },
    ),
    "waimai_10k": Case(
        {"columns": {"text": "review", "label": "label"}, "stratify": "label", "test_fraction": 0.2},
        ((8631,), (959,), (2397,)),
        ((14,), (2,), (4,)),
        {"waimai_10k.csv": "label,review\r\n" + '1,"快,好\r\n吃"\r\n0,慢\r\n' * 10},
    ),
    "ud-english-ewt": Case(
        {},
        ((12544, 204577), (2001, 25147), (2077, 25094)),
        ((2, 4), (1, 2), (1, 2)),
        {f"en_ewt-ud-{part}.conllu.gz": (CONLLU + "\n") * n for part, n in (("train", 2), ("dev", 1), ("test", 1))},
    ),
    "ud-chinese-gsd": Case(
        {"columns": {"words": "form", "tags": "upos", "lemmas": "lemma"}},
        ((3997, 98608), (500, 12663), (500, 12012)),
        ((2, 4), (1, 2), (1, 2)),
        {f"zh-ud-{part}.conllu.gz": (CONLLU + "\n") * n for part, n in (("train", 2), ("dev", 1), ("test", 1))},
    ),
    "conll2003": Case(
        {
            **{"format": "conll", "train": "eng.train", "valid": "eng.testa", "test": "eng.testb"},
            "columns": ("words", "pos", "chunks", "tags"),
        },
        ((14041, 203621), (3250, 51362), (3453, 46435)),
        ((2, 4), (1, 2), (1, 2)),
        {"eng.train.gz": NER * 2, "eng.testa.gz": NER, "eng.testb.gz": NER},
    ),
    "resume-ner": Case(
        {},
        ((3821, 124099), (463, 13890), (477, 15100)),
        ((2, 4), (1, 2), (1, 2)),
        {f"{part}.char.bmes": "高 B-NAME\n勇 E-NAME\n\n" * n for part, n in (("train", 2), ("dev", 1), ("test", 1))},
    ),
    "msra-ner": Case(
        {},
        ((45592,), (5066,), (4631, 172601)),
        ((9,), (1,), (1, 2)),
        {"train.bio.gz": "\u3000\tO\n京\tB-LOC\n\n" * 10, "test.bio.gz": "北\tO\n京\tB-LOC\n"},
    ),
    "wnut17": Case(
        {},
        ((3394, 62730), (1009, 15733), (1287, 23394)),
        ((2, 4), (1, 2), (2, 2)),
        {
            "wnut17train.conll": "# \tO\n@a\tB-person\n\t\n" * 2,
            "emerging.dev.conll": "#\tO\n@a\tO\n",
            "emerging.test.annotated": "#\tO\n\n@a\tO\n\n\n",
        },
    ),
    "atis": Case(
        {
            "format": "parallel",
            "columns": {"words": "seq.in", "slots": "seq.out", "intent": "label"},
            "tokens": ("words", "slots"),
        },
        ((4478, 50497), (500, 5703), (893, 9164)),
        ((2, 4), (1, 2), (1, 2)),
        {
            f"{part}/{name}": line * n
            for part, n in (("train", 2), ("valid", 1), ("test", 1))
            for name, line in (("seq.in", "to boston \n"), ("seq.out", "O B-city\n"), ("label", "flight\n"))
        },
    ),
    "multi30k-en-de": Case(
        {"format": "parallel", "columns": ("de", "en")},
        ((29000,), (1014,), (1000,)),
        ((2,), (1,), (1,)),
        {
            f"{part}.{side}.gz": "Ein Mann.\n" * n
            for part, n in (("train", 2), ("val", 1), ("test_2016_flickr", 1))
            for side in ("de", "en")
        },
    ),
    "tatoeba-en-zh": Case(
        {
            **{"format": "tsv", "train": "cmn.txt.gz", "columns": ("en", "zh", "_"), "header": False},
            **{"group": "en", "valid_fraction": 1000, "test_fraction": 1000},
        },
        ((24388,), (1000,), (1000,)),
        ((500,), (1000,), (1000,)),
        {"_about.txt": "x\n", "cmn.txt.gz": "".join(f"Hi {i}.\t嗨{i}。\tCC-BY\n" for i in range(2500))},
    ),
}


def counts(table: Table, wanted: Counts) -> Counts:
    tokens = [sum(map(len, column)) for column in table.columns.values() if isinstance(column[0], list)]
    assert len(set(tokens)) <= 1  # a tag for each token
    return (len(table), *tokens)[: len(wanted)]


def build(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder


@pytest.mark.parametrize("name", CASES)
def test_the_counts_are_those_of_the_set(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    folders = [(build(tmp_path, case.files), case.small)]
    if (DATA / name).is_dir():
        folders.append((DATA / name, case.real))
    for folder, wanted in folders:
        parts = read_dataset(Layout(folder, **case.layout))
        assert list(parts) == ["train", "valid", "test"]
        assert tuple(counts(parts[part], n) for part, n in zip(parts, wanted, strict=True)) == wanted


def test_what_stands_in_the_rows(tmp_path: Path) -> None:
    def first(name: str) -> dict[str, Any]:
        (tmp_path / name).mkdir()
        case = CASES[name]
        train = read_dataset(Layout(build(tmp_path / name, case.files), **case.layout))["train"]
        return {column: entries[0] for column, entries in train.columns.items()}

    assert first("chnsenticorp") == {"text": '"好', "label": "1"}
    assert first("waimai_10k")["text"] in ("快,好\n吃", "慢")
    assert first("sst") == {"label": "1", "text": "fine \xa0 ."}
    assert first("ud-chinese-gsd") == {"words": ["I", "do"], "tags": ["PRON", "AUX"], "lemmas": ["I", "do"]}
    assert first("conll2003")["tags"] == ["I-ORG", "O"]
    assert first("msra-ner") == {"words": ["\u3000", "京"], "tags": ["O", "B-LOC"]}
    assert first("atis") == {"words": ["to", "boston"], "slots": ["O", "B-city"], "intent": "flight"}
    assert first("wnut17")["words"] == ["# ", "@a"]
    assert first("mr") == {"label": "neg", "text": 'so "bad" .'}
