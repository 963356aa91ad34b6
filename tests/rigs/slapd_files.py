"""What rigs/slapd.py writes down for OpenLDAP: its configuration and the first entries."""

MEMBER_OF = {
    "memberof": "overlay memberof\nmemberof-group-oc groupOfNames\nmemberof-member-ad member",
    "dynlist": "overlay dynlist\ndynlist-attrset groupOfURLs memberURL member+memberOf@groupOfNames*",
}
CONFIG = """\
include {schema}/core.schema
include {schema}/cosine.schema
include {schema}/nis.schema
include {schema}/inetorgperson.schema
include {schema}/dyngroup.schema
modulepath {modules}
moduleload back_mdb
moduleload ppolicy
moduleload {member_of_module}
pidfile {folder}/slapd.pid
TLSCACertificateFile {ca}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
sizelimit size.soft={size_limit} size.hard={size_limit} size.prtotal=unlimited

database monitor
access to * by dn.exact="{admin_dn}" read by * none

database mdb
suffix "{base}"
rootdn "{admin_dn}"
rootpw {admin_password}
directory {folder}/data
dbnosync
maxsize 1073741824
index objectClass,uid,cn,mail,member,memberUid,entryUUID eq
access to attrs=userPassword by anonymous auth by self write by * none
access to * by users read by * none
overlay ppolicy
ppolicy_default "{policy_dn}"
ppolicy_hash_cleartext
{member_of}
"""
SKELETON = """\
dn: {base}
objectClass: organization
objectClass: dcObject
o: Example
dc: example

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{base}
objectClass: organizationalUnit
ou: groups

dn: {policy_dn}
objectClass: device
objectClass: pwdPolicy
cn: default-policy
pwdAttribute: userPassword
pwdLockout: FALSE

dn: {reader_dn}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {reader_password}
"""
