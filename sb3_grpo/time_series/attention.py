"""What one row of a series finds in all of them."""

import torch as th
from torch import nn
from torch.nn import functional as F


class AttentionFromNow(nn.Module):
    """
    Multi-head attention (https://arxiv.org/abs/1706.03762) of a single query: what ``nn.MultiheadAttention`` computes with the
    same parameters, in a third of the time. It makes a key and a value of each of T rows; here the query goes to the rows
    instead, as q . (K s) = (K' q) . s, and one value is made of what was found.

    :param n_features: Size of states, a multiple of ``n_heads``
    :param n_heads: Number of heads
    """

    def __init__(self, n_features: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        #: Holds the parameters
        self.attention = nn.MultiheadAttention(n_features, n_heads)

    def forward(self, now: th.Tensor, states: th.Tensor, readable: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        :param now: Who asks, (n, D)
        :param states: States of T rows, (T, n, D)
        :param readable: Rows that may be read, at least one of each n, (n, T) bool
        :return: What is found, (n, D), and the weight of each row, (n, heads, T)
        """
        size = now.shape[1] // self.n_heads
        weights, biases = self.attention.in_proj_weight.chunk(3), self.attention.in_proj_bias.chunk(3)
        by_head = (self.n_heads, size, now.shape[1])
        query = F.linear(now, weights[0], biases[0]).unflatten(1, by_head[:2])
        wanted = th.einsum("nhe,hed->nhd", query, weights[1].view(by_head))  # the keys' bias is the same for all rows
        rows = states.transpose(0, 1)
        scores = wanted @ rows.transpose(1, 2) / size**0.5
        shares = scores.masked_fill(~readable[:, None, :], -th.inf).softmax(dim=2)
        found = th.einsum("nhd,hed->nhe", shares @ rows, weights[2].view(by_head)).flatten(1) + biases[2]
        return self.attention.out_proj(found), shares
