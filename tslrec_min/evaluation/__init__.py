"""Full-ranking evaluation, stored ranks, comparisons of arms."""
