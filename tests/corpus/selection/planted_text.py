"""Made-up text of known worth: good text of several topics, junk, and text of another kind."""

from __future__ import annotations

import random

from tutelage.corpus.sentences import word_set

_TOPICS = {
    "sea": "harbour ship anchor tide sailor lighthouse wave captain island rope storm shore net pilot mast",
    "garden": "rose spade seed orchard hedge bee root blossom gardener soil pear vine leaf shed ladder",
    "school": "teacher pupil lesson blackboard chalk essay exam library desk holiday grammar atlas bell ink pencil",
    "court": "judge witness verdict lawyer clause prison oath appeal clerk jury charge defence bench ruling fine",
}
TOPICS = tuple(_TOPICS)
_VERBS = sorted(word_set("watches carries follows remembers repairs describes leaves finds crosses keeps loses paints"))
_ADJECTIVES = sorted(word_set("old quiet narrow bright heavy patient distant broken careful young cold empty"))
_SPAM = sorted(word_set("buy cheap click now free offer subscribe login cart sale discount deal best price win bonus"))
_OTHER = sorted(
    word_set("protein enzyme receptor assay dose plasma cohort placebo tissue gene mutation peptide ligand serum")
)


def good(topic: str, count: int, seed: int, sentences: tuple[int, int] = (4, 12)) -> list[str]:
    """Texts of a topic: sentences with subject, verb and object."""
    chance, nouns = random.Random(f"{topic}{seed}"), _TOPICS[topic].split()
    return [" ".join(_sentence(chance, nouns) for _ in range(chance.randint(*sentences))) for _ in range(count)]


def off_topic(count: int, seed: int) -> list[str]:
    """The same sentences about other things."""
    chance, nouns = random.Random(f"other{seed}"), _OTHER
    return [" ".join(_sentence(chance, nouns) for _ in range(chance.randint(4, 12))) for _ in range(count)]


def junk(count: int, seed: int) -> list[str]:
    """Advertisements: the words of one shop in any order."""
    chance = random.Random(f"junk{seed}")
    return [" ".join(chance.choices([*_SPAM, "the", "and", "your"], k=chance.randint(30, 110))) for _ in range(count)]


def _sentence(chance: random.Random, nouns: list[str]) -> str:
    first, second, third = chance.sample(nouns, 3)
    return (
        f"The {chance.choice(_ADJECTIVES)} {first} {chance.choice(_VERBS)} the {second}, "
        f"and a {third} {chance.choice(_VERBS)} what the {chance.choice(_ADJECTIVES)} {chance.choice(nouns)} left."
    )
