"""From the tree of boundaries to the finished store and its report."""
