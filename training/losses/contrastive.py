# Copyright 2026 depth_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""The contrastive loss between a picture's code, its key, and the keys of other pictures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def similarities(
    queries_BD: Tensor,
    keys_BD: Tensor,
    others_ND: Tensor,
    is_own_BN: Tensor,
    *,
    temperature: float,
) -> Tensor:
    """
    Return q.k / temperature of each query: with its own key first, then with all others.

    :param queries_BD, keys_BD, others_ND: of length 1.
    :param is_own_BN: True where an other key is of the query's own picture: minus infinity.
    :returns: (B, 1 + N).
    """
    own_B1 = (queries_BD * keys_BD).sum(dim=1, keepdim=True)
    others_BN = (queries_BD @ others_ND.T).masked_fill(is_own_BN, -torch.inf)
    return torch.cat((own_B1, others_BN), dim=1) / temperature


def info_nce(similarities_BN: Tensor) -> Tensor:
    """
    Return the mean over the queries of -ln(exp(s_0) / sum_n exp(s_n)), a scalar.

    van den Oord et al., arXiv:1807.03748, eq. 4, in the form of MoCo, arXiv:1911.05722, eq. 1.
    """
    first_B = torch.zeros(len(similarities_BN), dtype=torch.int64, device=similarities_BN.device)
    return functional.cross_entropy(similarities_BN, first_B)
