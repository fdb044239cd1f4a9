"""Search: beam against transformers, diverse and contrastive against their definitions, several answers to a prompt."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from family_configs import CONFIGS, SIZES
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.results import Generation
from tutelage.inference.sampling import Sampling
from tutelage.inference.search import Beam, Contrastive, search_ids
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.store.errors import ConfigError, InputError

PROMPTS = [[5], [0, 7, 9, 30, 31, 32], [100] * 20]


def logprobs_of(model: DecoderLM, ids: list[int]) -> torch.Tensor:
    """After these ids, [V], everything read anew."""
    with torch.no_grad():
        return model(torch.tensor([ids]))[0, -1].log_softmax(-1)


# -- beam search


@pytest.fixture(scope="module")
def theirs(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoModelForCausalLM

    directory: Path = tmp_path_factory.mktemp("model")
    lm.save(directory)
    return AutoModelForCausalLM.from_pretrained(directory).eval()


@pytest.mark.parity
@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
@pytest.mark.parametrize("num_beams", [1, 2, 5])
@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("length_penalty", [1.0, 0.0, -1.0, 2.0])
def test_beams_are_those_of_transformers(
    lm: LanguageModel, theirs: Any, prompt: list[int], num_beams: int, early_stopping: Any, length_penalty: float
) -> None:
    stop_ids = list(range(150, 190))  # so many that beams end early
    how = Beam(num_beams, 12, length_penalty, early_stopping)
    ours = search_ids(lm.model, prompt, how, stop_ids)
    if num_beams == 1:
        greedy = theirs.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=stop_ids,
                                 pad_token_id=258)  # fmt: skip
        assert [*prompt, *ours[0].ids] == greedy[0].tolist()
        return
    made = theirs.generate(
        torch.tensor([prompt]), num_beams=num_beams, num_return_sequences=num_beams, max_new_tokens=12, do_sample=False,
        length_penalty=length_penalty, early_stopping=early_stopping, eos_token_id=stop_ids, pad_token_id=258,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    scores = made.sequences_scores.tolist()
    expected = [_up_to_stop(ids[len(prompt) :], stop_ids) for ids in made.sequences.tolist()]
    assert [one.ids for one in ours] == [ids for ids, score in zip(expected, scores, strict=True) if score > -1e8]
    assert [one.score for one in ours] == pytest.approx([score for score in scores if score > -1e8], rel=1e-5, abs=1e-4)
    assert all((one.stop_reason == "stop") == (one.ids[-1] in stop_ids) for one in ours)


@pytest.mark.parity
def test_no_ngram_twice_as_in_transformers(lm: LanguageModel, theirs: Any) -> None:
    prompt = [100] * 20
    made = theirs.generate(torch.tensor([prompt]), num_beams=3, max_new_tokens=20, do_sample=False, eos_token_id=None,
                           no_repeat_ngram_size=2, pad_token_id=258)  # fmt: skip
    ours = search_ids(lm.model, prompt, Beam(3, 20, no_repeat_ngram=2), [])
    assert [*prompt, *ours[0].ids] == made[0].tolist()
    pairs = list(itertools.pairwise(ours[0].ids))
    assert len(set(pairs)) == len(pairs)


def _up_to_stop(ids: list[int], stop_ids: list[int]) -> list[int]:
    end = next((at for at, token in enumerate(ids) if token in stop_ids), len(ids))
    return ids[: end + 1]


def test_enough_beams_find_the_likeliest_of_all(lm: LanguageModel) -> None:
    small = LanguageModel(DecoderLM(lm.config, seed=4), lm.tokenizer)
    best = search_ids(small.model, [5], Beam(259, 2, length_penalty=0.0), [])[0]
    first = logprobs_of(small.model, [5])
    with torch.no_grad():
        pairs = small.model(torch.tensor([[5, index] for index in range(259)]))[:, -1].log_softmax(-1)
    total = first[:, None] + pairs
    assert best.ids == list(divmod(int(total.argmax()), 259))
    assert best.score == pytest.approx(float(total.max()), rel=1e-5, abs=1e-4)
    assert sum(best.logprobs) == pytest.approx(best.score, rel=1e-5, abs=1e-4)


# -- diverse beam search


def naive_diverse(model: DecoderLM, prompt: list[int], how: Beam, stop_ids: set[int]) -> list[tuple[list[int], float]]:
    """Vijayakumar et al. 2018, algorithm 1, everything read anew; early_stopping True."""
    width = how.num_beams // how.groups
    running: list[list[tuple[list[int], float]]] = [[([], 0.0)] for _ in range(how.groups)]
    complete: list[list[tuple[list[int], float]]] = [[] for _ in range(how.groups)]
    for length in range(1, how.max_tokens + 1):
        before: list[int] = []
        for group in range(how.groups):
            if len(complete[group]) >= width:
                continue
            candidates = []
            for ids, total in running[group]:
                own = logprobs_of(model, prompt + ids)
                for token in range(len(own)):
                    value = total + float(own[token])
                    candidates.append((value - how.diversity * before.count(token), [*ids, token], value))
            candidates.sort(key=lambda one: -one[0])
            running[group] = []
            for place, (_, ids, value) in enumerate(candidates):
                if ids[-1] in stop_ids or length == how.max_tokens:
                    if place < width:
                        complete[group].append((ids, value / length**how.length_penalty))
                elif len(running[group]) < width:
                    running[group].append((ids, value))
            complete[group] = sorted(complete[group], key=lambda one: -one[1])[:width]
            before += [ids[-1] for ids, _ in running[group]]
    return sorted((one for group in complete for one in group), key=lambda one: -one[1])


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
@pytest.mark.parametrize("stop_ids", [set(), set(range(150, 180))], ids=["never", "stops"])
def test_diverse_beams_follow_their_definition(lm: LanguageModel, prompt: list[int], stop_ids: set[int]) -> None:
    how = Beam(6, 6, early_stopping=True, groups=3, diversity=1.5)
    ours = search_ids(lm.model, prompt, how, sorted(stop_ids))
    expected = naive_diverse(lm.model, prompt, how, stop_ids)
    assert [one.ids for one in ours] == [ids for ids, _ in expected]
    assert [one.score for one in ours] == pytest.approx([score for _, score in expected], rel=1e-5, abs=1e-4)


def test_diverse_groups_begin_differently(lm: LanguageModel) -> None:
    alike = search_ids(lm.model, [5], Beam(4, 5), [])
    diverse = search_ids(lm.model, [5], Beam(4, 5, groups=4, diversity=50.0), [])
    assert len({one.ids[0] for one in diverse}) == 4 > len({one.ids[0] for one in alike})


# -- contrastive search


def naive_contrastive(model: DecoderLM, prompt: list[int], how: Contrastive, stop_ids: set[int]) -> list[int]:
    """Su et al. 2022, equation 5, everything read anew."""
    ids = list(prompt)
    while len(ids) < len(prompt) + how.max_tokens:
        probabilities, tokens = logprobs_of(model, ids).exp().topk(how.top_k)
        ratings = []
        for probability, token in zip(probabilities.tolist(), tokens.tolist(), strict=True):
            with torch.no_grad():
                states = model.hidden(torch.tensor([[*ids, token]]))[0]
            likeness = max(float(torch.cosine_similarity(states[-1], one, dim=0)) for one in states[:-1])
            ratings.append((1 - how.alpha) * probability - how.alpha * likeness)
        ids.append(int(tokens[ratings.index(max(ratings))]))
        if ids[-1] in stop_ids:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
@pytest.mark.parametrize(("k", "alpha"), [(4, 0.6), (8, 0.3), (3, 1.0), (1, 0.6), (5, 0.0)])
def test_contrastive_search_follows_its_definition(lm: LanguageModel, prompt: list[int], k: int, alpha: float) -> None:
    how = Contrastive(k, alpha, 12)
    (found,) = search_ids(lm.model, prompt, how, range(150, 160))
    assert found.ids == naive_contrastive(lm.model, prompt, how, set(range(150, 160)))
    own = [float(logprobs_of(lm.model, prompt + found.ids[:at])[token]) for at, token in enumerate(found.ids)]
    assert found.logprobs == pytest.approx(own, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_is_searched_by_its_cache(family: str) -> None:
    """States and latents of a cache follow their beams: the log-probabilities are those of reading everything anew."""
    for extra in CONFIGS[family]:
        model = DecoderLM(FamilyConfig.parse({"family": family, **SIZES, **extra}), seed=2).eval()
        for how in (Beam(3, 6), Contrastive(3, 0.5, 6)):
            found = search_ids(model, [5, 6, 7, 8, 9], how, [])[-1]
            own = [float(logprobs_of(model, [5, 6, 7, 8, 9, *found.ids[:at]])[one]) for at, one in enumerate(found.ids)]
            assert found.logprobs == pytest.approx(own, abs=1e-3)


# -- for callers


def test_searching_by_text_and_up_to_the_context(lm: LanguageModel) -> None:
    found = lm.search(["ab", "c"], Beam(3, 8))
    assert [len(one) for one in found] == [3, 3]
    assert all(one.score >= other.score for many in found for one, other in itertools.pairwise(many))  # type: ignore[operator]
    assert lm.search([lm.prompt_ids("ab")], Beam(1, 8))[0][0].ids == lm.generate(["ab"], Sampling(max_tokens=8))[0].ids
    full = lm.search([[5] * 93], Beam(2, 50))[0]
    assert {len(one.ids) for one in full} == {3} and full[0].stop_reason == "length"
    with pytest.raises(InputError, match="the prompt has 96 tokens"):
        lm.search([[5] * 96], Contrastive())


def test_the_best_of_several_has_the_highest_mean_logprob(lm: LanguageModel) -> None:
    made = lm.best_of("ab", 6, Sampling(temperature=1.0, max_tokens=8, seed=2))
    means = [sum(one.logprobs) / len(one.logprobs) for one in made]
    assert means == sorted(means, reverse=True) and len(set(means)) > 1
    assert made[0] in lm.generate(["ab"] * 6, Sampling(temperature=1.0, max_tokens=8, seed=2))


def test_the_majority_and_its_share(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["so 4", "so 5", "hm", "so 5", "so 4"]
    monkeypatch.setattr(lm, "generate", lambda prompts, sampling: [Generation(text) for text in texts])
    found = lm.self_consistency("2 + 2", 5, lambda text: text[3:] or None)
    assert (found.answer, found.share, found.votes) == ("4", 0.4, {"4": 2, "5": 2})
    assert lm.self_consistency("2 + 2", 5, lambda text: None).answer is None
    with pytest.raises(ConfigError, match="temperature 0 are all equal"):
        lm.best_of("2 + 2", 5, Sampling())


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"num_beams": 0}, "beam.num_beams must be"), ({"groups": 3}, "beam.groups must be a divisor"),
        ({"early_stopping": "no"}, "beam.early_stopping must be"), ({"length_penalty": math.nan}, "length_penalty"),
        ({"groups": 2}, "no effect alone"), ({"diversity": 1.0}, "no effect alone"),
        ({"max_tokens": 0}, "beam.max_tokens"),
    ],
)  # fmt: skip
def test_wrong_values_of_beams_are_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Beam(**values)


@pytest.mark.parametrize("values", [{"top_k": 0}, {"alpha": 1.5}, {"max_tokens": 0}])
def test_wrong_values_of_contrastive_search_are_named(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"contrastive\.{next(iter(values))} must be"):
        Contrastive(**values)
