"""The network: gene vectors projected into a frozen language model, an instruction, a class token, a head.

In: the genes of each cell, how strong they are, and the vector of a domain model. Out: logits and the class token's state.
One cell is read as ``genes, [domain], instruction, class token`` (scInterpreter, methods; the domain token is scReader's),
between the special tokens that the reader's tokenizer puts around a text. Gradients pass through the reader, never into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from atlas.interpreter.config import NetworkConfig, StrengthForm
from atlas.interpreter.reader import Reader

PARTS = ("projection", "class_token", "head", "domain", "strength")
"""Groups of parameters that learn: the paper's three; the domain token's projection and the strengths' where there are such."""

COSINE_SCALE = 20.0
"""Factor of the cosine between a cell and a label's text, as sentence encoders are trained with."""

N_STRENGTHS = 8
_STRONGEST = 2.8  # of a cell's genes one in a hundred is stronger: all these are read alike
_LOUDNESS = (0.0, *(2.0**power for power in range(11)))
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Cells:
    """A batch of cells as the network takes it.

    Attributes
    ----------
    genes
        ``(n, k)`` int64 rows of the gene vectors, -1 where a cell has fewer genes.
    strengths
        ``(n, k)`` float32, 0 where there is no gene.
    domain
        ``(n, domain dim)`` float32, or ``None``.
    """

    genes: Tensor
    strengths: Tensor
    domain: Tensor | None = None


@dataclass(frozen=True)
class Sequence:
    """Tokens ready to be read.

    Attributes
    ----------
    tokens
        ``(n, length, width)``.
    mask
        ``(n, length)`` bool.
    place
        ``(n,)`` int64, where the class token stands.
    """

    tokens: Tensor
    mask: Tensor
    place: Tensor


class Projection(nn.Module):
    """Two linear layers with a GELU between; a norm brings the result to the size of the reader's own tokens.

    The papers name an MLP and nothing else. Without the norm a token of another size drowns the instruction, or is drowned by it.

    Parameters
    ----------
    dim, hidden, width
        Lengths of what comes in, between, and of a token of the reader.
    size
        Root mean square that tokens start with.
    """

    def __init__(self, dim: int, hidden: int, width: int, *, size: float, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, hidden)
        self.outer = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        nn.init.constant_(self.norm.weight, size)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return ``(..., width)`` of ``(..., dim)``."""
        found: Tensor = self.norm(self.outer(self.dropout(nn.functional.gelu(self.inner(vectors)))))
        return found


class DomainToken(nn.Module):
    """A domain model's vector as one token: against the mean of the cells learned from, in units of their spread, projected.

    The vectors of one tissue's cells share most of their direction; what is left tells the cells apart. Noise while learning
    keeps a few cells from being told by heart.

    Attributes
    ----------
    mean, spread
        ``(dim,)`` and ``(1,)``: of the cells learned from; they are kept with what learned.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, dim: int, hidden: int, width: int, *, size: float, dropout: float, noise: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(1))
        self.projection = Projection(dim, hidden, width, size=size, dropout=dropout)
        self.noise = noise

    def measure(self, vectors: Tensor) -> None:
        """Take mean and spread of ``(n, dim)`` vectors."""
        self.mean.copy_(vectors.mean(dim=0))
        spread = self.centred(vectors).square().mean().sqrt()
        self.spread.copy_(spread if float(spread) > 0.0 else torch.ones(1))

    def centred(self, vectors: Tensor) -> Tensor:
        """Return ``(n, dim)`` vectors less the mean."""
        return vectors.to(self.mean.device) - self.mean

    def forward(self, vectors: Tensor) -> Tensor:
        """Return ``(n, width)`` of ``(n, dim)``."""
        seen = self.centred(vectors) / self.spread
        if self.training and self.noise:
            seen = seen + self.noise * torch.randn_like(seen)
        found: Tensor = self.projection(seen)
        return found


class Opinion(nn.Module):
    """What the domain model, which knows texts, says of labels without having learned them: one logit a label.

    The cosine of a cell's vector and a label's text, less what the cells learned from have of it on average, as loud as it is
    right on those cells: silent where it misleads. Neither paper has it; scReader fuses the vector of the cell alone.

    Attributes
    ----------
    texts, scale
        ``(n_labels, dim)`` vectors of the labels' texts; ``(1,)`` how loud.
    """

    texts: Tensor
    scale: Tensor

    def __init__(self, texts: Tensor) -> None:
        super().__init__()
        self.register_buffer("texts", texts.clone())
        self.register_buffer("scale", torch.zeros(1))

    def measure(self, centred: Tensor, codes: Tensor) -> None:
        """Choose the loudness with the lowest cross-entropy on labelled cells.

        Parameters
        ----------
        centred, codes
            ``(n, dim)`` vectors of the domain model less their mean, and ``(n,)`` int64 labels.
        """
        fit = centred @ self.texts.T
        losses = [float(nn.functional.cross_entropy(scale * fit, codes.to(fit.device))) for scale in _LOUDNESS]
        self.scale.fill_(_LOUDNESS[losses.index(min(losses))])

    def forward(self, centred: Tensor, texts: Tensor | None = None) -> Tensor:
        """Return logits ``(n, n_texts)`` of the labels, or of other texts ``(n_texts, dim)``."""
        wanted = self.texts if texts is None else texts.to(self.texts.device)
        return self.scale * (centred @ wanted.T)


class Head(nn.Module):
    """A norm and a linear layer, from the class token's state to one logit a label; it starts at no opinion."""

    def __init__(self, width: int, n_labels: int, *, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, n_labels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, state: Tensor) -> Tensor:
        """Return ``(n, n_labels)`` logits."""
        found: Tensor = self.linear(self.dropout(self.norm(state)))
        return found


class Network(nn.Module):
    """Everything that learns, around a reader that does not.

    Parameters
    ----------
    reader
        The frozen language model.
    gene_vectors
        ``(n_genes, gene_dim)`` float32; it does not learn. Read against the mean of all genes, at a mean square of 1.
    config
        Sizes, instruction, dropout.
    n_labels
        Labels of the head.
    domain_dim
        Length of the domain model's vector; 0: no domain token.
    strength
        How a gene's token says how strong it is, see :class:`atlas.interpreter.config.GeneTokens`.
    label_texts
        ``(n_labels, domain_dim)`` float32, the labels' texts as the domain model sees them: the logits start from its opinion,
        which needs the domain token. ``None``: from none.
    label_words
        ``(n_labels, width)`` float32 of length 1, the labels' texts as the reader reads them: an answer is the mean of what the
        head says and of how well the class token fits these. ``None``: the head's alone.
    """

    def __init__(
        self,
        reader: Reader,
        gene_vectors: Tensor,
        config: NetworkConfig,
        *,
        n_labels: int,
        domain_dim: int = 0,
        strength: StrengthForm = "none",
        label_texts: Tensor | None = None,
        label_words: Tensor | None = None,
    ) -> None:
        super().__init__()
        width, size = reader.width, reader.token_size
        how = {"size": size, "dropout": config.dropout}
        self.reader = reader
        self.frame = reader.frame(config.instruction)
        self.register_buffer("gene_vectors", _standardised(gene_vectors), persistent=False)
        self._with_numbers = strength == "numbers"
        n_more = N_STRENGTHS if self._with_numbers else 0
        self.projection = Projection(config.gene_dim + n_more, config.hidden, width, **how)
        self.class_token = nn.Parameter(torch.randn(width) * size)
        self.head = Head(width, n_labels, dropout=config.dropout)
        self.domain = (
            DomainToken(domain_dim, config.hidden, width, **how, noise=config.domain_noise) if domain_dim else None
        )
        self.register_buffer("label_words", label_words, persistent=False)
        self.opinion = None if label_texts is None else Opinion(label_texts)
        self.strength = nn.Linear(1, width, bias=False) if strength == "direction" else None
        if self.strength is not None:
            nn.init.zeros_(self.strength.weight)  # at first a gene is its description alone

    def learning(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and parameter of everything that learns here; low-rank changes of the reader come from outside."""
        for name, parameter in self.named_parameters():
            if name.split(".")[0] in PARTS:
                yield name, parameter

    def kept(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and tensor of everything that makes a trained network out of a fresh one."""
        yield from self.learning()
        if self.label_words is not None:
            yield "label_words", self.get_buffer("label_words")
        for name, part in (("domain", self.domain), ("opinion", self.opinion)):
            if part is not None:
                yield from ((f"{name}.{key}", buffer) for key, buffer in part.named_buffers())

    def beside_reader(self) -> Network:
        """Move everything to where the reader is, which stays as it is held, and return this."""
        device = self.reader.words((0,)).device
        for name, part in self.named_children():
            if name != "reader":
                part.to(device)
        self.class_token.data = self.class_token.data.to(device)
        for name in ("gene_vectors", "label_words"):
            if getattr(self, name) is not None:
                setattr(self, name, getattr(self, name).to(device))
        return self

    def measure(self, domain: Tensor, codes: Tensor) -> None:
        """Take from the cells to be learned from what does not learn: where their domain vectors lie, how right an opinion is.

        Parameters
        ----------
        domain, codes
            ``(n, domain dim)`` and ``(n,)`` int64 labels.
        """
        if self.domain is None:
            return
        self.domain.measure(domain)
        if self.opinion is not None:
            self.opinion.measure(self.domain.centred(domain), codes)

    def forward(self, cells: Cells, *, padding: Side = "right") -> tuple[Tensor, Tensor]:
        """Return logits ``(n, n_labels)`` and the class token's state ``(n, width)``, both float32.

        Parameters
        ----------
        padding
            Side that shorter sequences are filled up on; it changes nothing but the last digits.
        """
        state = self.states(self.sequence(cells, padding=padding))
        return self.logits(cells, state), state

    def logits(self, cells: Cells, state: Tensor) -> Tensor:
        """Return the answers that class tokens give, ``(n, n_labels)`` float32: a softmax makes probabilities of them."""
        said = self.head_logits(cells, state)
        if self.label_words is None:
            return said
        told = text_logits(state, self.get_buffer("label_words")) + self.opinion_of(cells)
        return torch.logaddexp(said.log_softmax(dim=1), told.log_softmax(dim=1))

    def head_logits(self, cells: Cells, state: Tensor) -> Tensor:
        """Return what the head says of class tokens, ``(n, n_labels)`` float32, the domain model's opinion included."""
        found: Tensor = self.head(state).float() + self.opinion_of(cells)
        return found

    def opinion_of(self, cells: Cells, texts: Tensor | None = None) -> Tensor | float:
        """Return the domain model's opinion of the labels, or of other texts, ``(n, n_texts)``; 0 where it has none.

        Parameters
        ----------
        texts
            ``(n_texts, domain dim)``, as the domain model sees them.
        """
        if self.opinion is None or self.domain is None or cells.domain is None:
            return 0.0
        found: Tensor = self.opinion(self.domain.centred(cells.domain), texts)
        return found

    def states(self, sequence: Sequence) -> Tensor:
        """Return the class token's state of sequences, ``(n, width)`` float32."""
        hidden = self.reader.read(sequence.tokens, sequence.mask)
        return hidden[torch.arange(len(hidden), device=hidden.device), sequence.place].float()

    def gene_tokens(self, cells: Cells) -> Tensor:
        """Return the tokens of the cells' genes, ``(n, k, width)``; what stands where there is no gene is masked later."""
        vectors: Tensor = self.get_buffer("gene_vectors")[cells.genes.clamp(min=0)]
        if self._with_numbers:
            vectors = torch.cat([vectors, strength_numbers(cells.strengths)], dim=-1)
        tokens: Tensor = self.projection(vectors)
        if self.strength is not None:
            tokens = tokens + self.strength(cells.strengths.unsqueeze(-1))
        return tokens

    def mean_gene_tokens(self, cells: Cells) -> Tensor:
        """Return tokens of genes of which nothing is known, ``(n, k, width)``: the mean token of all genes.

        Where vectors are read with numbers for strength: the token of the mean vector, as strong as the cell's gene.
        """
        table = self.get_buffer("gene_vectors")
        if self._with_numbers:
            vectors = table.new_zeros((*cells.genes.shape, table.shape[1]))
            found: Tensor = self.projection(torch.cat([vectors, strength_numbers(cells.strengths)], dim=-1))
            return found
        mean: Tensor = self.projection(table).mean(dim=0)
        return mean.expand(*cells.genes.shape, -1)

    def sequence(self, cells: Cells, *, padding: Side = "right", gene_tokens: Tensor | None = None) -> Sequence:
        """Return the tokens of cells in the order they are read, without gaps.

        Parameters
        ----------
        gene_tokens
            Tokens to read for the genes; ``None``: :meth:`gene_tokens`.
        """
        n = len(cells.genes)
        genes = self.gene_tokens(cells) if gene_tokens is None else gene_tokens
        parts = [self._words(self.frame.before, n), genes]
        masks = [self._there(len(self.frame.before), like=cells.genes), cells.genes >= 0]
        if self.domain is not None:
            if cells.domain is None:
                raise TypeError("the network has a domain token, and the cells bring no domain vector")
            parts.append(self.domain(cells.domain).unsqueeze(1))
            masks.append(self._there(1, like=cells.genes))
        after = self.frame.after
        parts += [self._words(self.frame.text, n), self.class_token.expand(n, 1, -1), self._words(after, n)]
        masks.append(self._there(len(self.frame.text) + 1 + len(after), like=cells.genes))
        kind = genes.dtype
        return _packed(
            torch.cat([one.to(kind) for one in parts], 1), torch.cat(masks, 1), padding=padding, n_after=len(after)
        )

    def _words(self, ids: tuple[int, ...], n: int) -> Tensor:
        return self.reader.words(ids).expand(n, -1, -1)

    @staticmethod
    def _there(length: int, *, like: Tensor) -> Tensor:
        return torch.ones((len(like), length), dtype=torch.bool, device=like.device)


def strength_numbers(strengths: Tensor) -> Tensor:
    """Return ``(..., 8)`` numbers of strengths ``(...)``: bumps side by side, of which those near the strength are high.

    Their mean square is about 1, as that of the vectors beside them.
    """
    places = torch.linspace(0.0, _STRONGEST, N_STRENGTHS, device=strengths.device)
    apart = _STRONGEST / (N_STRENGTHS - 1)
    seen = strengths.clamp(max=_STRONGEST).unsqueeze(-1)
    return 2.0 * torch.exp(-0.5 * ((seen - places) / apart).square())


def text_logits(state: Tensor, words: Tensor) -> Tensor:
    """Return how well texts fit class tokens: ``(n, n_texts)`` of ``(n, width)`` and of ``(n_texts, width)`` of length 1."""
    return COSINE_SCALE * nn.functional.normalize(state, dim=1) @ words.to(state.device).T


def _standardised(gene_vectors: Tensor) -> Tensor:
    """Take the mean of all genes away: sentence encoders give every description much the same direction."""
    known = gene_vectors.abs().sum(dim=1) > 0
    centred = gene_vectors - gene_vectors[known].mean(dim=0)
    return centred / centred[known].square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)


def _packed(tokens: Tensor, mask: Tensor, *, padding: Side, n_after: int) -> Sequence:
    """Close the gaps: what is there moves together, in order, and padding to one side."""
    order = torch.argsort((~mask if padding == "right" else mask).long(), dim=1, stable=True)
    longest = int(mask.sum(dim=1).max())
    order = order[:, :longest] if padding == "right" else order[:, -longest:]
    tokens = tokens.gather(1, order.unsqueeze(-1).expand(-1, -1, tokens.shape[2]))
    mask = mask.gather(1, order)
    last = mask.sum(dim=1) - 1 if padding == "right" else torch.full((len(mask),), longest - 1, device=mask.device)
    return Sequence(tokens, mask, last - n_after)
