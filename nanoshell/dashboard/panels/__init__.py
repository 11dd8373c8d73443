"""The panels that nanoshell brings; the plugin nanoshell_panels registers them."""
