"""Load tools, and peers to stand beside the product. Nothing of it is part of the product."""
