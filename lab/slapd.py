"""A private slapd (OpenLDAP) on a loopback port and a socket in the lab, with an empty directory of its own.

Its configuration is in cn=config, as Debian's package makes it. Root may change everything by the socket, as there;
others read when they have given a password. It never sees the host's directory, and asks no name server.
"""

import shutil
from pathlib import Path
from urllib.parse import quote

from lab.daemon import ACCOUNT, GROUP, Daemon
from lab.tools import free_port, run

SUFFIX = "dc=example,dc=com"
ROOT = "gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth"
CONFIGURATION = """\
dn: cn=config
objectClass: olcGlobal
cn: config
olcSaslHost: localhost

dn: cn=module,cn=config
objectClass: olcModuleList
cn: module
olcModulePath: /usr/lib/ldap
olcModuleLoad: back_mdb

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

include: file:///etc/ldap/schema/core.ldif
include: file:///etc/ldap/schema/cosine.ldif
include: file:///etc/ldap/schema/inetorgperson.ldif

dn: olcDatabase={{0}}config,cn=config
objectClass: olcDatabaseConfig
olcDatabase: {{0}}config
olcAccess: to * by dn.exact={root} manage by * break

dn: olcDatabase={{1}}mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: {{1}}mdb
olcDbDirectory: {data}
olcDbNoSync: TRUE
olcSuffix: {suffix}
olcAccess: to attrs=userPassword by dn.exact={root} manage by anonymous auth by * none
olcAccess: to * by dn.exact={root} manage by users read by * none
"""
TOP = f"""\
dn: {SUFFIX}
objectClass: organization
objectClass: dcObject
o: Example
dc: example
"""


class Slapd(Daemon):
    """The private slapd of one lab; its configuration is made at once, start() starts it."""

    def __init__(self, lab: Path) -> None:
        super().__init__(lab, "slapd")
        self.port = free_port()
        self._configuration = self.directory / "slapd.d"
        self._socket = f"ldapi://{quote(str(self.directory / 'ldapi'), safe='')}"
        data = self.directory / "data"
        for folder in (data, self._configuration):
            folder.mkdir()
        # Ubuntu's AppArmor lets /usr/sbin/slapd read and write only in its usual places.
        self._program = str(shutil.copy("/usr/sbin/slapd", self.directory / "program"))
        self._load("0", CONFIGURATION.format(root=ROOT, data=data, suffix=SUFFIX))
        self._load("1", TOP)
        run(["chown", "-R", f"{ACCOUNT}:{GROUP}", data, self._configuration])

    @property
    def address(self) -> str:
        """HOST:PORT of the server."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Return the server's command line."""
        listeners = f"ldap://{self.address} {self._socket}"
        return [self._program, "-d", "none", "-F", str(self._configuration), "-h", listeners]

    def ready(self) -> list[str]:
        """Return a question that the server answers when it is ready."""
        return ["ldapwhoami", "-Q", "-Y", "EXTERNAL", "-H", self._socket]

    def add(self, *files: Path) -> None:
        """Add the entries of LDIF files, schemas too, as root does by the socket."""
        for file in files:
            run(["ldapadd", "-Q", "-Y", "EXTERNAL", "-H", self._socket, "-f", file])

    def _load(self, database: str, text: str) -> None:
        """Write entries into a database while the server does not run."""
        file = self.directory / f"database-{database}.ldif"
        file.write_text(text, encoding="utf-8")
        run(["slapadd", "-F", self._configuration, "-n", database, "-l", file])
