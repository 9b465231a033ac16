"""Do the kernels compute what the cascades mean? ``weir check`` runs each against its interpretation."""
