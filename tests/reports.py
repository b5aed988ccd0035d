"""A report as a long run leaves it, with text of all kinds in it."""

from __future__ import annotations

import math

from adapterhub.report.report import Answers, Point, Report

ATTACK = "</pre><script>document.title = 'stolen'</script><img src=x onerror=\"document.title = 'stolen'\">"


def full_report(steps: int = 120) -> Report:
    every = max(1, steps // 6)
    losses = [0.4 + 5 * math.exp(-step / (steps / 5)) + 0.3 * math.sin(step * 7.3) ** 2 for step in range(1, steps + 1)]
    validations = {0: 5.9} | {step: 0.6 + 5 * math.exp(-step / (steps / 5)) for step in range(every, steps + 1, every)}
    last = max(validations)
    return Report(
        name="team/orders:v1",
        digest=f"sha256:{'ab' * 32}",
        created="2026-11-27T12:00:00+00:00",
        method="lora",
        objective="sft",
        base="smollm2-135m",
        base_digest=f"sha256:{'cd' * 32}",
        quantization="nf4",
        steps=steps,
        tokens=48211,
        seconds=93.4,
        training_losses=tuple(Point(step=step, loss=loss) for step, loss in enumerate(losses, start=1)),
        validation_losses=tuple(Point(step=step, loss=loss) for step, loss in validations.items()),
        best_step=last,
        general_loss_base=3.538,
        general_loss_adapter=3.871,
        samples=(
            Answers(
                prompt="The kettle I got is broken, I want my money back.",
                expected="queue=refund; item=kettle",
                base="I'm sorry to hear that your kettle is broken. To help you with your request, I will need some",
                adapter="queue=refund; item=kettle",
            ),
            Answers(
                prompt="<user> writes: " + "a long question, " * 60 + "w" * 300,
                expected=ATTACK,
                base=ATTACK,
                adapter="line one\nline two",
            ),
        ),
        parameters=4884480,
        adapter_bytes=19569672,
        peak_bytes=1843216384,
        evaluation={
            "metrics": ["exact_match", "token_f1"],
            "rows": [
                {
                    "label": "base, zero-shot",
                    "prompt_tokens": 48.25,
                    "scores": {"exact_match": 0.0, "token_f1": 0.113},
                    "intervals": {"exact_match": [0.0, 0.0], "token_f1": [0.09, 0.14]},
                },
                {"label": "base, 4-shot", "prompt_tokens": 171.9, "scores": {"exact_match": 0.41}},
                {
                    "label": f"team/orders:v1 {ATTACK}",
                    "prompt_tokens": 48.25,
                    "scores": {"exact_match": 0.86, "token_f1": 0.93},
                    "intervals": {"exact_match": [0.79, 0.92], "token_f1": [0.9, 0.96]},
                },
            ],
            "verdict": "fine-tuning gains 45 points (37 to 53) over the best prompt",
            "examples": 300,
        },
        options={"r": 16, "target_modules": ["q_proj", "v_proj"], "lora_alpha": 32, "modules_to_save": None},
        settings={"objective": "sft", "learning_rate": 0.001, "epochs": 3.0, "system": ATTACK, "max_steps": None},
        data={"sha256": "ef" * 32, "examples": 270, "validation_examples": 30},
        versions={"adapterhub": "0.1.0", "torch": "2.13.0"},
    )
