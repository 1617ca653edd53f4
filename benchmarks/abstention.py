"""How often "nothing matches" is said rightly and wrongly, on one release: the phrases below against its calibration.

Run: python -m benchmarks.abstention --home HOME [--release NAME]

None of the off-topic phrases below is among those the release was calibrated with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from atlas.model.joint import JointModel
from atlas.release import Home, Release
from atlas.vectors.calibration import Calibration, subjects
from atlas.vectors.faiss_index import open_index
from atlas.vectors.store import VectorStore
from atlas.vocabulary import background_phrases

MEASURED = """cardiomyopathy, dilated cardiomyopathy, heart, tuberculosis, whole blood, liver, brain, colorectal cancer, lung,
pancreatic islets, uveal melanoma, adrenocortical carcinoma, SARS-CoV-2 infection, breast cancer, T cells, autism"""
BIOMEDICAL = """glioblastoma, hepatocellular carcinoma, cirrhosis, kidney, renal cell carcinoma, skin, psoriasis, melanoma,
monocytes, neutrophils, B cell lymphoma, leukemia, bone marrow, prostate cancer, muscle, adipose tissue, fetal
brain, macrophages stimulated with LPS, interferon response, sepsis, Crohn's disease, ulcerative colitis, type 2
diabetes, beta cells, embryonic stem cells, iPSC-derived neurons, Alzheimer's disease, schizophrenia, cerebellum,
hippocampus, retina, testis, ovary, placenta, thyroid, spleen, lymph node, CD8 T cell exhaustion, natural killer
cells, plasmacytoid dendritic cells, epithelial mesenchymal transition, hypoxia, oxidative phosphorylation, MYC
targets, cell cycle, fibrosis, endothelial cells, smooth muscle, asthma, cystic fibrosis, influenza, HIV infection,
malaria, rheumatoid arthritis, systemic lupus erythematosus, multiple sclerosis, aortic aneurysm, heart failure,
hypertrophic cardiomyopathy, cholangiocarcinoma, TP53, EGFR, HeLa, MCF7, HEK293, pregnancy, ageing, smoking,
chemotherapy, knockdown of BRD4"""
OFF_TOPIC = """asdfghjkl, qwertz uiop, best pizza in town, quarterly tax report, how do I change a tyre, football world cup final,
lorem ipsum dolor sit amet, the cat sat on the mat, used car dealership, python list comprehension, kitchen
renovation ideas, xkcd comic strip, cheap flights to Rome, presidential election, stock exchange, weather tomorrow,
Shakespeare sonnet, medieval cathedral architecture, train from Paris to Berlin, learn to play the guitar, wedding
invitation wording, zzzzzz, hello world, what time is it, bitcoin price, climate treaty negotiation, ancient Roman
coins, mountain bike trail, electric car battery range, jazz piano, blorf snagel, my neighbour's dog barks,
chocolate cake recipe, tallest building in the world, supreme court ruling, Star Wars spaceship, teach me German,
roof insulation, lawn fertiliser, spaghetti carbonara, Beethoven symphony, moon landing, steam locomotive, income
inequality, yoga class schedule, microwave oven manual, space telescope, royal family gossip, origami crane,
1234567890, a, !!!, the, I would like to order a coffee please, plumber near me, purple monkey dishwasher, supply
chain logistics, Excel pivot table, knitting pattern, sunscreen"""


def split(phrases: str) -> list[str]:
    return [phrase.strip() for phrase in phrases.replace("\n", " ").split(",")]


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    wins = positive[:, None] > negative[None, :]
    ties = positive[:, None] == negative[None, :]
    return float((wins + 0.5 * ties).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--release")
    asked = parser.parse_args()
    release = Release.open(Home(asked.home), asked.release)
    model = JointModel.load(release.path("model"))
    calibration = Calibration.load(release.path("calibration.json"))
    with VectorStore.open(release.path("vectors.npy")) as store:
        index = open_index(release.path("index"), store)
        print(f"Release {release.name}: {store.n} samples, calibrated with {calibration.table.n_phrases} phrases\n")
        print("| phrases | n | nothing matches | median percentile of the best hit | which |\n|---|---|---|---|---|")
        signals: dict[str, dict[str, np.ndarray]] = {}
        for name, phrases in (("measured", MEASURED), ("biomedical", BIOMEDICAL), ("off-topic", OFF_TOPIC)):
            texts = split(phrases)
            vectors = model.embed_texts(texts)
            silent = [calibration.no_match(vector, index=index) for vector in vectors]
            hits = index.search(vectors, 100)
            best = [
                calibration.percentile(scores[:1], kind="text", rows=rows[:1])[0]
                for scores, rows in zip(hits.scores, hits.rows, strict=True)
            ]
            odd = [text for text, flag in zip(texts, silent, strict=True) if flag != (name == "off-topic")]
            print(f"| {name} | {len(texts)} | {sum(silent)} | {np.median(best):.1f} | {', '.join(odd) or 'none'} |")
            response = (hits.scores - calibration.mean[hits.rows]) / calibration.deviation[hits.rows]
            signals[name] = {
                "best cosine": hits.scores[:, 0],
                "response": response.max(axis=1),
                "subject": subjects(vectors, calibration.term_vectors),
            }
    print("\n| signal | AUC measured against off-topic | AUC biomedical against off-topic |\n|---|---|---|")
    for signal in ("best cosine", "response", "subject"):
        off = signals["off-topic"][signal]
        print(
            f"| {signal} | {auc(signals['measured'][signal], off):.3f} | {auc(signals['biomedical'][signal], off):.3f} |"
        )
    print(f"\nCalibration phrases among the off-topic ones: {len(set(split(OFF_TOPIC)) & set(background_phrases()))}")


if __name__ == "__main__":
    main()
