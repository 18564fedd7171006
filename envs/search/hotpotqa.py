"""HotpotQA from the Hugging Face Hub: the chosen questions, and their conversion.

Only the data set's own ids are here. The corpus is every paragraph of the validation split's
contexts, more than the pinned corpus has, so a run on it needs `accept_data` and has a Track of
its own.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from envs.datasets import probe_hub
from envs.errors import DataMalformed, DataUnavailable
from envs.search.corpus import Passage
from envs.search.disk_cache import cached_folder
from envs.search.questions import SearchQuestion, read_passages, read_questions
from envs.text_env import Split

HUB = "hotpotqa/hotpot_qa"
_CONFIGURATION, _TABLE = "distractor", "validation"
_QUESTIONS, _PASSAGES = "questions.jsonl", "passages.jsonl"
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
_ON = frozenset({"1", "ON", "YES", "TRUE"})
Rows = Iterable[Mapping[str, Any]]

_TRAIN = """
5a711bb55542994082a3e597 5a712c4b5542994082a3e622 5a713dcb5542994082a3e6d9 5a7145d55542994082a3e73c
5a7199725542994082a3e88f 5a72908f5542994cef4bc33b 5a72a4645542991f9a20c54c 5a733d5d5542991f29ee2d71
5a734e6d5542994cef4bc528 5a7354d55542994cef4bc55a 5a738d27554299623ed4abf3 5a74106b55429979e288289e
5a745e1455429929fddd83fd 5a74684655429929fddd8410 5a74c85055429916b0164218 5a74f8235542993748c89766
5a7506f455429916b0164240 5a7625c7554299109176e668 5a76334c5542994ccc918710 5a77121a5542994aec3b71db
5a77691455429966f1a36d2b 5a77724455429972597f153e 5a78b209554299148911f93e 5a78d01d55429974737f78b3
5a790d8f554299029c4b5eec 5a79311755429970f5fffe67 5a79c8fa5542994bb94570a1 5a7a18b05542990783324e53
5a7a455c5542994f819ef1a7 5a7ad9865542995eb53be8aa 5a7af1a955429931da12c98f 5a7b3f4d5542992d025e67bb
5a7b4bc35542992d025e67e0 5a7b55bc55429927d897bf98 5a7b5aff55429931da12ca6d 5a7c6b6655429935c91b519a
5a7caae75542996dd594b971 5a7ce50f55429909bec76869 5a7ce6bf55429909bec7686c 5a7d54165542995f4f402256
5a7dd9445542997cc2c474ac 5a7e052d5542995f4f40238e 5a7ed2c655429930675135e5 5a7f00b455429930675135f1
5a7f6fd75542992e7d278cfa 5a7f95685542995d8a8ddeaa 5a7fac0055429969796c1b1b 5a80ae105542992bc0c4a7a2
5a80b3a9554299485f5986cc 5a80b8845542992bc0c4a7de 5a80be9655429938b61421b5 5a81a7f75542995ce29dcc25
5a81c7d15542990a1d231ea9 5a8268215542995ce29dccfb 5a83aaeb5542996488c2e483 5a83e98e5542992ef85e2387
5a84574455429933447460e6 5a84b5ac5542991dd0999da4 5a84c4135542994c784dda31 5a84cf175542992a431d1aa2
5a85a3005542991dd0999e72 5a85f2f55542997b5ce40036 5a867089554299211dda2b30 5a86f2fb554299211dda2b64
5a875154554299211dda2be7 5a877dd65542993e715abf79 5a8781b65542993e715abf8f 5a8789115542994846c1cd9a
5a879ba55542993e715abfc3 5a87c13f5542996e4f30890c 5a88658955429938390d3f47 5a888fe6554299206df2b2f7
5a88dcf9554299206df2b383 5a893f305542993b751ca91e 5a893fc855429951533612f0 5a89f5815542993b751ca9c5
5a8a42ec55429970aeb7027c 5a8a6a2155429930ff3c0dd0 5a8ad6db55429950cd6afba7 5a8b3f8a5542995d1e6f131f
5a8b544855429950cd6afcae 5a8c4c625542995e66a475a1 5a8c7595554299585d9e36b6 5a8d8eb5554299068b959d3a
5a8dee2455429917b4a5bce1 5a8e3dc05542995085b37401 5a8fa4d95542995b4424207b 5a901f735542990a98493591
5a9057795542990a984935f7 5ab295eb554299194fa93412 5ab30d1155429976abd1bc3d 5ab344fc55429969a97a811e
5ab3b0bf5542992ade7c6e39 5ab3c05d55429969a97a81aa 5ab4107a554299753aec5a2f 5ab412da5542996a3a969f15
5ab4e3065542990594ba9cb4 5ab4e48655429942dd415f9c 5ab611cc5542992aa134a411 5ab6654455429954757d3281
5ab68a71554299710c8d1ec2 5ab6d9b25542995eadef00c8 5ab729335542993667793f5a 5ab72b5c5542993667793f63
5ab7da6f55429928e1fe3928 5ab7f7465542993667794071 5ab859a955429934fafe6d7b 5ab8634e5542990e739ec8de
5ab8f7535542991b5579f0a7 5ab94cf0554299743d22eade 5ab9b29c554299743d22ebae 5aba5d2e55429901930fa799
5aba6f3e55429955dce3ee21 5aba902455429901930fa834 5abaad5855429901930fa88f 5abb30755542996cc5e49fd8
5abbd7985542992ccd8e7fb8 5abc715f5542993a06baf8ea 5abc8620554299700f9d78e2 5abd01205542992ac4f3819b
5abe239355429976d4830a7d 5abe250f5542991f661060ef 5abf04ae5542993fe9a41dbf 5ac02e31554299294b218f3f
5ac11ee45542997d64295a7d 5ac170af5542994d76dcce20 5ac19eb35542994ab5c67da3 5ac23ff0554299636651994d
5ac26b7f55429951e9e685ae 5ac270025542990b17b15390 5ac2bbd0554299218029db09 5ac2efd65542990b17b154c7
5ac32b565542995ef918c154 5ac370ce5542995ef918c18c 5ac3b0885542995ef918c1f8 5ac3e0f7554299194317388b
5ac45b58554299076e296dad 5ac497025542997ea680ca8d 5ac4da3b554299076e296e17 5ac5188255429924173fb5a3
5adbda2755429944faac2385 5adbe2c65542996e68525274 5adc1ae5554299438c868d5c 5adc411f5542994650320cbc
5adc53f75542996e6852530a 5adc9b7a5542994d58a2f679 5adcc7395542990d50227d13 5adcc9f35542990d50227d20
5add10ca5542994ed6169c59 5add11935542994734353827 5ade28cf5542997c77aded85 5ade2bce5542997c77aded96
5adea9ea55429939a52fe934 5adf043b5542993a75d263d4 5adf33965542993344016c20 5adf9dc3554299025d62a2e6
5adfa6c7554299025d62a326 5ae0038655429925eb1afbe0 5ae0361155429925eb1afc2c 5ae09ce855429924de1b7113
5ae11bc455429901ffe4ad94 5ae136375542997b2ef7d12f 5ae1443855429920d5234362 5ae17e4255429901ffe4aeae
5ae1b8075542997283cd2262 5ae22b8d554299234fd0440f 5ae24abc5542994d89d5b3c3 5ae26af3554299492dc91c1c
5ae2cda55542992decbdcdb7 5ae31bbd55429928c42395fc 5ae3c5535542991a06ce9a20 5ae3f2d25542995ad6573ccc
5ae3fec55542995dadf242a4 5ae3ff575542995dadf242aa 5ae4eb9255429908b63264ba 5ae518ae5542993aec5ec13c
5ae527945542993aec5ec167 5ae55b8255429908b63265ef 5ae5736e5542990ba0bbb2b3 5ae5aba0554299546bf82f17
5ae5fa38554299546bf82ff1 5ae5ffbb5542996de7b71ad4 5ae6050f55429929b0807a5e 5ae6069c55429929b0807a67
5ae650fb55429929b0807b2e 5ae663b05542992ae0d16316 5ae6828f5542996d980e7bb9 5ae69e3f5542996d980e7c61
5ae72b96554299572ea5474e 5ae72ca35542991e8301cb92 5ae74818554299572ea547ad 5ae7620f5542997ec2727627
5ae77c245542997b22f6a795 5ae791ef55429952e35ea979 5ae80919554299540e5a56f6 5ae82ae555429952e35eaa71
"""
_VALIDATION = """
5a7265825542997f827839a3 5a73977d554299623ed4ac08 5a756b175542996c70cfaef7 5a7a567255429941d65f25bd
5a7a8a9c554299042af8f666 5a7c960655429935c91b5244 5a7f113d55429934daa2fcbe 5a7f62405542992e7d278cf0
5a82fcbd55429954d2e2ebe8 5a84873e5542997175ce1eec 5a85fc995542996432c5715f 5a86769c5542994775f60776
5a8a265b5542992d82986ecc 5a8ba59a554299240d9c2058 5a8bbfb15542995e66a474f6 5a8cb288554299585d9e3726
5a8d02cc554299441c6b9fb6 5a8e06785542995085b37383 5a8e4e7855429917b4a5bd92 5ab278745542997061209617
5ab28e2a5542993be8fa9947 5ab516485542990594ba9cfc 5ab67aba55429954757d32e7 5ab6c65e554299710c8d1f58
5ab6cebd55429954757d3378 5ab72a025542992aa3b8c7b8 5ab8ee035542991b5579f04b 5abaee845542996606241696
5abccf6755429965836004ab 5abcf17655429959677d6b5c 5abdf12255429976d4830a2f 5ac176555542994d76dcce47
5ac1767a5542994d76dcce48 5adcfe5f5542992c1e3a24f0 5adefdd75542995ec70e8f4e 5adfd30c55429906c02daa53
5ae1316555429901ffe4adda 5ae2136d5542997283cd23b6 5ae4cda05542990ba0bbb148 5ae694a15542991bbc976141
"""
_TEST = """
5a713f3c5542994082a3e6eb 5a7332935542991f9a20c67d 5a73a7c755429978a71e9068 5a7571135542992d0ec05f98
5a75e7b255429976ec32bc95 5a7747e15542994aec3b7266 5a78f753554299078472776e 5a7a1b165542996c55b2dd10
5a7b46e55542995eb53be8e5 5a7b76735542997c3ec9719f 5a7b8749554299294a54a9db 5a7be5bd5542997c3ec972ba
5a7d3cbb5542995f4f402243 5a7ef18c55429934daa2fc84 5a817f6655429938b6142349 5a835c9f5542992ef85e228a
5a8510a25542994c784ddaf0 5a85b2d95542997b5ce40028 5a85cead5542991dd0999ea9 5a866c04554299211dda2b25
5a86edcc55429960ec39b6da 5a88bd1d554299206df2b357 5a88e605554299206df2b39c 5a8a1b7a5542992d82986ec0
5a8a2d2155429930ff3c0cdc 5a8ce851554299441c6b9f6c 5a8ee2855542995a26add550 5a8ee6145542990e94052bab
5a8f1672554299458435d558 5ab1ebff5542993be8fa9882 5ab341f755429969a97a8114 5ab4313a554299233955004c
5ab48ec25542991779162cdc 5ab5ed505542997d4ad1f255 5ab7c87d55429928e1fe38de 5ab7fa7b5542992aa3b8c897
5ab91f98554299753720f70d 5aba926f55429901930fa83e 5abbdb195542993f40c73bf1 5abc095c5542993f40c73c5d
5abc25b6554299700f9d77f9 5abd724b55429924427fcfd9 5abdc8e755429965af743e3f 5abeb0da5542997ec76fd34b
5abf44025542993fe9a41def 5abf8ae85542990832d3a14b 5ac00cde554299012d1db58a 5ac19ba355429963665198b7
5ac3891f554299741d48a284 5ac508205542994611c8b32e 5adbf81a554299438c868cfd 5add67915542992200553af8
5add92885542990dbb2f7e72 5ade69e455429975fa854ec5 5aded1595542995ec70e8f29 5adf4a275542993a75d26498
5adfd2f255429925eb1afaa5 5ae058e855429945ae959331 5ae0aabc55429945ae9593fe 5ae0d7315542990adbacf678
5ae3c71f5542991a06ce9a22 5ae53de455429908b6326599 5ae5be475542990ba0bbb2c6 5ae81032554299540e5a572a
"""
IDS: Mapping[Split, frozenset[str]] = {
    "train": frozenset(_TRAIN.split()),
    "validation": frozenset(_VALIDATION.split()),
    "test": frozenset(_TEST.split()),
}


def read_hub(rows: Rows | None = None) -> tuple[dict[Split, list[SearchQuestion]], list[Passage]]:
    """The questions by split and the corpus, from the Hub or from what it gave before.

    `rows` replaces the Hub's table. Raises DataUnavailable saying what was tried.
    """
    if rows is None:
        return _read(cached_folder("hotpotqa-from-the-hub", _download))
    with tempfile.TemporaryDirectory() as folder:
        _write(rows, Path(folder))
        return _read(Path(folder))


def _read(folder: Path) -> tuple[dict[Split, list[SearchQuestion]], list[Passage]]:
    return select_by_split(read_questions(folder / _QUESTIONS)), read_passages(folder / _PASSAGES)


def select_by_split(questions: Iterable[SearchQuestion]) -> dict[Split, list[SearchQuestion]]:
    """Those of some HotpotQA questions that are asked, by split; ids may have a prefix."""
    found = {question.id.rpartition("-")[2]: question for question in questions}
    return {split: [found[id] for id in sorted(ids & set(found))] for split, ids in IDS.items()}


def _download(folder: Path) -> None:
    # Offline the library reads its own cache, and a look at the network could only fail.
    if not any(os.environ.get(v, "").upper() in _ON for v in _OFFLINE):
        probe_hub(HUB)
    import datasets

    try:
        table: Rows = datasets.load_dataset(HUB, _CONFIGURATION, split=_TABLE)
    except Exception as error:  # the client raises a dozen kinds; all mean: not from there
        raise DataUnavailable(f"loading '{HUB}' from the Hub failed: {error}") from error
    _write(table, folder)


def _write(rows: Rows, folder: Path) -> None:
    passages: dict[str, str] = {}
    questions = []
    wanted = frozenset[str]().union(*IDS.values())
    for number, row in enumerate(rows):
        try:
            context = zip(row["context"]["title"], row["context"]["sentences"], strict=True)
            for title, sentences in context:
                # A paragraph stands in the contexts of several questions; its first form counts.
                passages.setdefault(title, "".join(sentences).strip())
            if row["id"] in wanted:
                gold = sorted(set(row["supporting_facts"]["title"]))
                questions.append((row["id"], row["question"], row["answer"], gold))
        except (KeyError, TypeError, ValueError) as error:
            raise DataMalformed(
                f"{HUB}, row {number} is not of the expected form ({error!r}); expected id,"
                " question, answer, context and supporting_facts."
            ) from error
    _lines(
        folder / _QUESTIONS,
        (
            # A paragraph without text becomes no passage, so it cannot be gold.
            {"id": id, "question": q, "answers": [a], "gold": [t for t in gold if passages.get(t)]}
            for id, q, a, gold in questions
        ),
    )
    texts = ((title, text) for title, text in passages.items() if text)
    _lines(folder / _PASSAGES, ({"id": t, "title": t, "text": text} for t, text in texts))


def _lines(path: Path, objects: Iterable[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(each) + "\n" for each in objects)
