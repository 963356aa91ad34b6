"""Where access lands: signers and binding stores behind ports, a live API server or an offline cluster."""
