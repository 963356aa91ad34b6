"""Who people are: local accounts, LDAP, OpenID Connect behind one port of two shapes."""
