from __future__ import annotations

import numpy as np
import torch

from tslrec_min.recommenders.adapters.components import Features, PrincipalComponents

from .factories import N_ITEMS, make_embeddings


def test_principal_components_keep_distances_and_ignore_padding() -> None:
    embeddings = np.random.default_rng(0).normal(size=(21, 12))
    embeddings[0] = 1e6
    fitted = PrincipalComponents.fit(embeddings)
    components = fitted.centred @ fitted.directions  # all of them: a rotation
    np.testing.assert_allclose(np.linalg.norm(components[3] - components[7]),
                               np.linalg.norm(embeddings[4] - embeddings[8]))
    np.testing.assert_allclose(components.var(axis=0), fitted.variances)
    assert (np.diff(fitted.variances) <= 0).all() and fitted.rank == 12


def test_signs_are_fixed() -> None:
    embeddings = make_embeddings().astype(np.float64)
    fitted = PrincipalComponents.fit(embeddings)
    largest = np.abs(fitted.directions).argmax(axis=0)
    assert (fitted.directions[largest, np.arange(20)] > 0).all()
    # Another order of the items is another order of the sums in the covariance, and nothing else.
    order = np.concatenate([[0], 1 + np.random.default_rng(1).permutation(N_ITEMS)])
    np.testing.assert_allclose(PrincipalComponents.fit(embeddings[order]).directions, fitted.directions, atol=1e-8)


def test_whitened_features_have_the_covariance_of_the_identity() -> None:
    for components in (0, 6):
        items = Features.whitened(make_embeddings(), components, "--pca-width").items.double().numpy()
        assert items.shape == (N_ITEMS, components or 20)
        np.testing.assert_allclose(items.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(np.cov(items.T, bias=True), np.eye(items.shape[1]), atol=1e-5)
    # A catalogue of fewer items than numbers has no more components than items, less one.
    assert Features.whitened(make_embeddings(10), 0, "--pca-width").width == 9


def test_centred_features_have_rows_of_norm_1() -> None:
    for components in (0, 6):
        items = Features.centred(make_embeddings(), components).items
        torch.testing.assert_close(items.mean(dim=0), torch.zeros(items.shape[1]), atol=1e-6, rtol=0)
        torch.testing.assert_close(items.square().sum(dim=1).mean(), torch.tensor(1.0))
