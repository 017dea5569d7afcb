#!/usr/bin/env python3
"""Writes what transformers makes of awkward texts, for tests/server/text/tokenizer_golden_test.cc.

Needs: pip install transformers tokenizers sentencepiece protobuf gguf.  Rerun:
  python3 tests/golden/make_tokenizer_golden.py
  python3 tests/golden/make_tokenizer_golden.py --gguf FILE  # the default model's: text/smollm2_cases.json
Trains small tokenizers with the pre-tokenizers of published models on the repository's own words and a few
lines of other languages. Each folder under text/ gets tokenizer.json and cases.json:
  cases[].hex            the text's bytes (not always UTF-8; Python reads them with errors="replace")
  cases[].ids            with special tokens added and parsed
  cases[].plain          neither: split_special_tokens
  cases[].decoded, .skipped   ids as text, with and without special tokens
  gguf                   the same vocabulary as a GGUF holds it
"""

import io
import json
import pathlib
import random
import sys

import sentencepiece
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import generate_merges

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
OTHER_LANGUAGES = """
Der schnelle braune Fuchs springt über den faulen Hund. Le cœur déçu mais l'âme plutôt naïve.
El pingüino Wenceslao.
Съешь же ещё этих мягких французских булок. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. دع عنك لومي فإن اللوم إغراء.
שלום עולם. नमस्ते दुनिया। สวัสดีชาวโลก 你好，世界。今天天气很好。こんにちは世界。안녕하세요 세계. 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 👋🌍
"""


def corpus():
    """The license is the one text here that never changes, so that a rerun trains the same tokenizers."""
    return [
        line for line in ((ROOT / "LICENSE").read_text() + OTHER_LANGUAGES * 8).splitlines() if line.strip()
    ]


def awkward_texts(specials):
    texts = [
        "",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\x00",
        "a\x00b",
        "\x7f\x1b[31m\x01\x02",
        "Hello, world!",
        " Hello",
        "Hello ",
        "hello  world",
        "hello   world",
        "a" * 300,
        " " * 300,
        "\n" * 50,
        " \n \n  \n",
        "\t\t  \t\n x",
        "x" + " " * 129 + "y",
        "I'm you're he'll WE'VE It'S 'tis don't D'oh",
        "1",
        "12",
        "123",
        "1234",
        "12345 678,901.23",
        "٣٤٥ ४५६ ⅷ ½ ²",
        "The capital of France is Paris.",
        "def f(x):\n    if x > 1:\n\treturn x\n\n\n",
        "camelCaseAndSNAKE_case XMLHttp",
        "https://example.com/a?b=c&d=%20#e",
        "{\"a\": [1, 2.5, null, true]}",
        "!!!???...---***",
        "a/b//c\\d",
        "é",
        "e\u0301",
        "\u0301",
        "o\u0308\u0323 a\u0328\u0301",
        "Ǆ ǅ ǆ ŉ ﬁ ﬀ",
        "İıſẞß",
        "\u212b \u00c5 A\u030a",
        "한글 \u1112\u1161\u11ab",
        "日本語のテキスト",
        "中文字符，标点。",
        "ภาษาไทยไม่มีช่องว่าง",
        "नमस्ते क्षत्रिय",
        "مرحبا بالعالم ١٢٣",
        "שָׁלוֹם עוֹלָם",
        "👋",
        "👩‍👩‍👧‍👦",
        "🏳️‍🌈🇩🇪",
        "👍🏽 ok",
        "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
        "\U0010ffff",
        "\ue000\uf8ff",
        "\ufeffbom",
        "a\u200bb\u200d\u2060c",
        "\u00a0nbsp\u2003em\u3000ideographic",
        "\u2028line\u2029para\u0085nel",
        "\u202ertl\u202c",
        "zalgo: h\u0338\u0334\u0335\u0321e\u0322l",
        "▁lower▁block",
        "<0x0A>",
        "Ġspecial Ċ chars",
        "\ufffd",
        "<|unknown|>",
        "<s></s><unk>[INST]",
        "mixed 中a文b😀c",
        "   leading",
        "trailing   ",
        "a  b   c    d",
        "\n\n\nend",
        "end\n\n\n",
        "x\n  y\n    z",
        "…—–“”‘’«»",
        "αβγ ΑΒΓ",
        "№ § ¶ ©",
    ]
    for token in specials:
        texts += [
            token,
            f"a{token}b",
            f" {token} ",
            f"{token}{token}",
            token[:-1],
            token[1:],
            f"{token[0]} {token[1:]}",
            f"\n{token}\n",
        ]
    if specials:
        texts.append(f"{specials[0]}user\nhi there{specials[-1]}\n")
    rng = random.Random(5)
    ranges = [
        (0x20, 0x7E),
        (0xA0, 0x17F),
        (0x300, 0x36F),
        (0x370, 0x5FF),
        (0x900, 0x97F),
        (0x1E00, 0x1FFF),
        (0x2000, 0x206F),
        (0x3040, 0x30FF),
        (0x4E00, 0x4FFF),
        (0xAC00, 0xACFF),
        (0x1F300, 0x1F6FF),
        (0, 0x1F),
    ]
    for _ in range(40):
        texts.append("".join(chr(rng.randint(*rng.choice(ranges))) for _ in range(rng.randint(1, 60))))
    raw = [text.encode() for text in texts]
    raw += [
        b"\xff",
        b"a\xc3",
        b"\xe4\xbd",
        b"\xe4\xbdx",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x91",
        b"\xc0\xaf ok",
        b"\xf4\x90\x80\x80",
        b"\x80\x80",
    ]
    raw += [rng.randbytes(30) for _ in range(5)]
    return raw


def write(name, tokenizer, specials, gguf):
    folder = HERE / "text" / name
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    cases = []
    for raw in awkward_texts(specials):
        text = raw.decode("utf-8", errors="replace")
        ids = fast(text)["input_ids"]
        plain = fast(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        cases.append(
            {
                "hex": raw.hex(),
                "ids": ids,
                "plain": plain,
                "decoded": fast.decode(ids, clean_up_tokenization_spaces=False),
                "skipped": fast.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
            }
        )
    lines = ",\n".join(json.dumps(case, ensure_ascii=True) for case in cases)
    (folder / "cases.json").write_text('{"gguf": ' + json.dumps(gguf) + ',\n"cases": [\n' + lines + "\n]}\n")
    print(f"{name}: {tokenizer.get_vocab_size()} tokens, {len(cases)} texts")


def byte_level(name, pre, pre_tokenizer, specials, added=(), normalizer=None, ignore_merges=False, bos=None):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(specials),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in added])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(vocabulary, key=vocabulary.get)
    gguf = {
        "model": "gpt2",
        "pre": pre,
        "tokens": tokens,
        "types": [3 if t in specials else 4 if t in added else 1 for t in tokens],
        "merges": [m if isinstance(m, str) else " ".join(m) for m in model["merges"]],
        "bos_token": bos or "",
        "add_bos": bool(bos),
    }
    write(name, tokenizer, list(specials) + list(added), gguf)


def sentence_piece(name):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_writer=out,
        vocab_size=600,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        add_dummy_prefix=True,
        num_threads=1,
        minloglevel=2,
        allow_whitespace_only_pieces=True,
        user_defined_symbols=["<|tool|>"],
    )
    trained = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    count = trained.get_piece_size()
    tokens = [trained.id_to_piece(i) for i in range(count)]
    scores = [trained.get_score(i) for i in range(count)]

    def type_of(i):
        if trained.is_unknown(i):
            return 2
        if trained.is_control(i):
            return 3
        if trained.is_byte(i):
            return 6
        return 4 if tokens[i] == "<|tool|>" else 1

    types = [type_of(i) for i in range(count)]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merges = generate_merges(vocabulary, dict(zip(tokens, scores)))
    # As LlamaConverter builds it (legacy), with add_bos.
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    tokenizer.add_special_tokens(
        [AddedToken(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")]
    )
    tokenizer.add_tokens([AddedToken("<|tool|>", normalized=False, special=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    # Ordinary text must come out as the trained model itself has it.
    for raw in awkward_texts([]):
        text = raw.decode("utf-8", errors="replace")
        ours, theirs = tokenizer.encode(text).ids[1:], trained.encode(text)
        if text and ours != theirs and not any(s in text for s in ("<s>", "<unk>", "▁", "\x00", "<|tool|>")):
            print(f"  {name}: differs from sentencepiece at {text!r}: {ours} {theirs}")
    gguf = {
        "model": "llama",
        "pre": "default",
        "tokens": tokens,
        "scores": scores,
        "types": types,
        "merges": [],
        "bos_token": "<s>",
        "add_bos": True,
        "add_space_prefix": True,
    }
    write(name, tokenizer, ["<unk>", "<s>", "</s>", "<|tool|>"], gguf)


def split(regex):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def default_model(path):
    """transformers reads the vocabulary; the pre-tokenizer is the one of the model's tokenizer.json, which
    its reading of a GGUF leaves out (it differs in the digits of other scripts)."""
    path = pathlib.Path(path)
    fast = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    fast.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    cases = [
        {"hex": raw.hex(), "ids": fast(raw.decode("utf-8", errors="replace"))["input_ids"]}
        for raw in awkward_texts(CHATML)
    ]
    lines = ",\n".join(json.dumps(case) for case in cases)
    (HERE / "text" / "smollm2_cases.json").write_text("[\n" + lines + "\n]\n")


CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
if sys.argv[1:2] == ["--gguf"]:
    default_model(sys.argv[2])
    sys.exit()
byte_level("gpt2", "gpt-2", pre_tokenizers.ByteLevel(add_prefix_space=False), ("<|endoftext|>",))
byte_level(
    "smollm",
    "smollm",
    pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    CHATML,
)
byte_level(
    "qwen2",
    "qwen2",
    split(QWEN2),
    CHATML,
    added=("<tool_call>", "</tool_call>"),
    normalizer=normalizers.NFC(),
)
byte_level(
    "llama3",
    "llama-bpe",
    split(LLAMA3),
    ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ignore_merges=True,
    bos="<|begin_of_text|>",
)
byte_level(
    "tekken",
    "tekken",
    split(TEKKEN),
    ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"),
    ignore_merges=True,
    bos="<s>",
)
sentence_piece("sentencepiece")
