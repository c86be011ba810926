"""Answers to IFEval's questions, for `ifeval.py`: some meet an instruction, some nearly, some are odd."""

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Arguments = Mapping[str, Any]
Change = Callable[[str, Arguments], str]

TONGUES = {
    "ar": "هذا نص قصير باللغة العربية عن الطقس والبيت والمدرسة.",
    "bg": "Това е кратък текст на български език за времето и къщата.",  # noqa: RUF001
    "bn": "এটি বাংলা ভাষায় আবহাওয়া এবং বাড়ি সম্পর্কে একটি ছোট লেখা।",
    "de": "Das ist ein kurzer Text in deutscher Sprache über das Wetter und das Haus.",
    "en": "this is a short text in the english language about the weather and the house.",
    "es": "Este es un texto breve en español sobre el tiempo y la casa.",
    "fa": "این یک متن کوتاه به زبان فارسی درباره هوا و خانه است.",
    "fi": "Tämä on lyhyt suomenkielinen teksti säästä ja talosta.",
    "gu": "આ હવામાન અને ઘર વિશે ગુજરાતી ભાષામાં એક ટૂંકો લેખ છે.",
    "hi": "यह मौसम और घर के बारे में हिंदी भाषा में एक छोटा लेख है।",
    "it": "Questo è un breve testo in lingua italiana sul tempo e sulla casa.",
    "kn": "ಇದು ಹವಾಮಾನ ಮತ್ತು ಮನೆಯ ಬಗ್ಗೆ ಕನ್ನಡದಲ್ಲಿ ಒಂದು ಸಣ್ಣ ಬರಹ.",
    "ko": "이것은 날씨와 집에 대한 짧은 한국어 글입니다.",
    "mr": "हा हवामान आणि घराबद्दल मराठी भाषेतील एक छोटा लेख आहे.",
    "ne": "यो मौसम र घरको बारेमा नेपाली भाषामा लेखिएको छोटो लेख हो।",
    "pa": "ਇਹ ਮੌਸਮ ਅਤੇ ਘਰ ਬਾਰੇ ਪੰਜਾਬੀ ਭਾਸ਼ਾ ਵਿੱਚ ਇੱਕ ਛੋਟਾ ਲੇਖ ਹੈ।",
    "pt": "Este é um texto curto em língua portuguesa sobre o tempo e a casa.",
    "ru": "Это короткий текст на русском языке о погоде и доме.",  # noqa: RUF001
    "sw": "Haya ni maandishi mafupi ya lugha ya Kiswahili kuhusu hali ya hewa na nyumba.",
    "ta": "இது வானிலை மற்றும் வீடு பற்றிய தமிழ் மொழியில் ஒரு சிறிய உரை.",
    "te": "ఇది వాతావరణం మరియు ఇల్లు గురించి తెలుగు భాషలో ఒక చిన్న వచనం.",
    "th": "นี่คือข้อความสั้นๆ ภาษาไทยเกี่ยวกับอากาศและบ้าน",
    "uk": "Це короткий текст українською мовою про погоду та будинок.",
    "ur": "یہ موسم اور گھر کے بارے میں اردو زبان میں ایک مختصر تحریر ہے۔",  # noqa: RUF001
    "vi": "Đây là một đoạn văn ngắn bằng tiếng Việt về thời tiết và ngôi nhà.",
}
ODD = (
    *("", " \n ", "*", "**", "***", "******", "* * *", "-", "--", ".", ",", '"', '""', '" "', "[]", "[[]]"),
    *("<<>>", "<< >>", "<<a>>", "P.S.", "p. p. s", "P.P.S", "12345", "3.14, 2.72", "!?!?", "İSTANBUL ẞ ς"),
    *("{}", "NaN", '"a"', "```json\n{}\n```", "```\n[1, 2\n```", "```JSON```json{}```"),
    *("My answer is yes.", "My answer is no", "MY ANSWER IS MAYBE.", "HELLO WORLD", "hello world"),
    *("A\n\nB\n\nC", "\n\nA\n\n\n\nB", "A***B***C", "***A*** ***B***", "A ****** A", "A\n******\nB"),
    *(
        "\u2028a\u2028b",
        "a\x0bb\x85c",
        "* a\n*\n* b\n- c\n---",
        "*\n\n* a",
        "Mr. U.S. Dr. A. B. said. No. 5 is.",
    ),
    *(
        "NASA's F.B.I. X-RAY CAN'T. U.S.A.",
        "don't STOP, IT'S OK...",
        'OK—FINE/GOOD (WELL) "YES"',
        "😀😀",
        "Ⅷ ⓐ ª",
    ),
)
"""Borders of the rules: empty, marks alone, other alphabets, lines that other rules would split."""
PIECES = (
    *(
        "the cat sat",
        "It rained",
        "Mr. Smith",
        "e.g.",
        "U.S.",
        "No. 5",
        "3.5",
        "NASA",
        "I",
        "A",
        "don't",
        "X-RAY",
    ),
    *(
        ". ",
        ".",
        "? ",
        "!",
        "...",
        ", ",
        "; ",
        ": ",
        "\n",
        "\n\n",
        "\n* ",
        "\n- ",
        "\n  * ",
        "*",
        "**",
        "***",
    ),
    *(
        "******",
        '"',
        "'",
        "[name]",
        "[",
        "]",
        "<<",
        ">>",
        "SECTION 1",
        "Section 2",
        "P.S. ",
        "P.P.S ",
        " ",
        "é",
    ),
)


def _sections(text: str, a: Arguments, count: int) -> str:
    return "\n".join(f"{a['section_spliter']} {n + 1}\n{text[:60]}" for n in range(count))


def _paragraphs(text: str, a: Arguments, count: int) -> str:
    parts = [f"part {n + 1} {text[:40].strip()}" for n in range(count)]
    if a["nth_paragraph"] <= count:
        parts[a["nth_paragraph"] - 1] = f"{a['first_word']} {text[:40].strip()}"
    return "\n\n".join(parts)


def _few(relation: str, count: int, *, nearly: bool) -> int:
    """How many meet a relation, or miss it by one."""
    return count - (relation == "less than") + nearly * (1 if relation == "less than" else -1)


def _more(text: str, marks: Sequence[str]) -> str:
    return "\n".join([text, *marks])


def changes(kind: str, *, nearly: bool) -> Change:
    """How a text is made to meet an instruction of this kind, or to miss it by little."""
    off = int(nearly)
    table: dict[str, Change] = {
        "keywords:existence": lambda t, a: _more(t, a["keywords"][off:]),
        "keywords:frequency": lambda t, a: _more(
            re.sub(a["keyword"], "", t, flags=re.IGNORECASE),
            [a["keyword"].upper()] * _few(a["relation"], a["frequency"], nearly=nearly),
        ),
        "keywords:forbidden_words": lambda t, a: (
            _more(t, [a["forbidden_words"][-1].title()])
            if nearly
            else re.sub("|".join(a["forbidden_words"]), "x", t, flags=re.IGNORECASE)
        ),
        "keywords:letter_frequency": lambda t, a: (
            re.sub(re.escape(a["letter"]), "", t, flags=re.IGNORECASE)
            + a["letter"] * _few(a["let_relation"], a["let_frequency"], nearly=nearly)
        ),
        "language:response_language": lambda t, a: " ".join(
            [TONGUES[a["language"]], *[t[:80]] * off] if a["language"] in TONGUES else [t]
        ),
        "length_constraints:number_sentences": lambda t, a: (
            "It was so. " * _few(a["relation"], a["num_sentences"], nearly=nearly)
        ),
        "length_constraints:number_paragraphs": lambda t, a: "\n***\n".join(
            [t[:50]] * (a["num_paragraphs"] - off)
        ),
        "length_constraints:number_words": lambda t, a: (
            "it's " * (_few(a["relation"], a["num_words"], nearly=nearly) // 2)
            + "so " * (_few(a["relation"], a["num_words"], nearly=nearly) % 2)
        ),
        "length_constraints:nth_paragraph_first_word": lambda t, a: _paragraphs(
            t, a, a["num_paragraphs"] + off
        ),
        "detectable_content:number_placeholders": lambda t, a: _more(
            re.sub(r"[\[\]]", "", t), ["[name]"] * (a["num_placeholders"] - off)
        ),
        "detectable_content:postscript": lambda t, a: (
            f"{t}\n\n{a['postscript_marker'].replace('.', ' .' * off or '.')} more"
        ),
        "detectable_format:number_bullet_lists": lambda t, a: (
            re.sub(r"^\s*[-*].*$", "", t, flags=re.MULTILINE)
            + "\n* one more" * (a["num_bullets"] - 1 + off)
            + "\n- last"
        ),
        "detectable_format:constrained_response": lambda t, a: f"My answer is {'Yes' if nearly else 'yes'}.",
        "detectable_format:number_highlighted_sections": lambda t, a: _more(
            t.replace("*", ""), ["*so*", "**or**"][: 1 + off] * ((a["num_highlights"] + off) // (1 + 2 * off))
        ),
        "detectable_format:multiple_sections": lambda t, a: _sections(t, a, a["num_sections"] - off),
        "detectable_format:json_format": lambda t, a: (
            f"```json\n{json.dumps({'answer': t})}\n```" + " Done." * off
        ),
        "detectable_format:title": lambda t, a: f"<<{' ' if nearly else 'A day'}>>\n{t}",
        "combination:two_responses": lambda t, a: f"{t}\n******\n{t}{' Or not.' * (1 - off)}",
        "combination:repeat_prompt": lambda t, a: f"{'Sure! ' * off}{a['prompt_to_repeat']}\n\n{t}",
        "startend:end_checker": lambda t, a: f"{t} {a['end_phrase']}{' Bye.' * off}",
        "startend:quotation": lambda t, a: f'"{t}{"." if nearly else chr(34)}',
        "change_case:capital_word_frequency": lambda t, a: _more(
            t.lower(), ["ONE"] * _few(a["capital_relation"], a["capital_frequency"], nearly=nearly)
        ),
        "change_case:english_capital": lambda t, a: t.upper() + " so" * off,
        "change_case:english_lowercase": lambda t, a: t.lower() + " So" * off,
        "punctuation:no_comma": lambda t, a: t.replace(",", "") + "," * off,
    }
    return table[kind]


ALTERED: dict[str, Callable[[str], str]] = {
    "a line before": lambda t: f"Sure! Here it is:\n{t}",
    "a line after": lambda t: f"{t}\nIs there anything else?",
    "lines around": lambda t: f"**Answer**\n{t}\n\n",
    "all capitals": str.upper,
    "no capitals": str.lower,
    "quoted": lambda t: f'"{t}"',
    "bold": lambda t: "\n".join(f"**{line}**" for line in t.split("\n")),
    "list": lambda t: "\n".join(f"* {line}" for line in t.split("\n")),
    "cut": lambda t: t[: len(t) * 2 // 3],
    "last line dropped": lambda t: t.rpartition("\n")[0],
    "blank lines": lambda t: t.replace("\n", "\n\n"),
    "one line": lambda t: t.replace("\n", " "),
    "twice": lambda t: f"{t}\n\n******\n\n{t}",
    "no points": lambda t: t.replace(".", ""),
    "asterisks out": lambda t: t.replace("*", ""),
    "in backquotes": lambda t: f"```\n{t}\n```",
    "white space around": lambda t: f" \n{t}\n ",
}


def answers(question: Mapping[str, Any], texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """How an answer was made, and the answer: for a line of IFEval's file, from some of people's `texts`."""
    draw = random.Random(question["key"])
    taken = draw.sample(texts, 4)
    pairs = list(zip(question["instruction_id_list"], question["kwargs"], strict=True))
    yield from (("text", text) for text in taken)
    yield from (("odd", text) for text in ODD)
    for text in taken[:2]:
        for order in (pairs, pairs[::-1]):
            met = text
            for kind, args in order:
                met = changes(kind, nearly=False)(met, args)
            yield "met", met
            for kind, args in order:
                yield "nearly met", changes(kind, nearly=True)(met, args)
        for how, alter in ALTERED.items():
            yield how, alter(met)
            yield how, alter(text)
    yield from (("tongue", draw.choice(list(TONGUES.values()))) for _ in range(2))
    yield from (("pieces", "".join(draw.choices(PIECES, k=draw.randint(1, 60)))) for _ in range(12))
