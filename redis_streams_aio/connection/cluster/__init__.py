"""Redis Cluster: which node has which slot, and how that is found out."""
