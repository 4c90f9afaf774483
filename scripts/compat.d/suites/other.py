"""Programs that ship logs (kcat, rsyslog, syslog-ng: Debian's, all on librdkafka 2.0.2), and franz-go."""

import fetch

from .program import Program

FRANZ_GO = "1.22.2"


class Kcat(Program):
    name = "kcat"
    title = "kcat of Debian (librdkafka 2.0.2)"
    version = "1.7.1"
    ci = True

    def prepare(self, place):
        fetch.needs("kcat")

    def arguments(self, place):
        return ["python3", place.programs / "kcat" / "program.py"]


class Rsyslog(Program):
    name = "rsyslog"
    title = "rsyslog omkafka and imkafka of Debian"
    version = "8.2302"
    partitions = 1

    def prepare(self, place):
        fetch.needs("rsyslogd")

    def arguments(self, place):
        return ["python3", place.programs / "shippers" / "rsyslog.py"]


class SyslogNg(Program):
    name = "syslog-ng"
    title = "syslog-ng kafka-c of Debian"
    version = "3.38.1"
    partitions = 1

    def prepare(self, place):
        # It and rsyslog exclude one another as packages.
        self._root = fetch.unpacked_debs(place, "syslog-ng", *SYSLOG_NG)

    def arguments(self, place):
        return ["python3", place.programs / "shippers" / "syslog_ng.py"]

    def environment(self, place):
        return {"COMPAT_ROOT": str(self._root)}


SYSLOG_NG = ("syslog-ng-core", "syslog-ng-mod-rdkafka", "libivykis0", "libpcre3")


class FranzGo(Program):
    name = "franz-go"
    title = "franz-go: program"
    version = FRANZ_GO

    def prepare(self, place):
        fetch.needs("go")
        sources = place.home / "franz-go-program"
        fetch.copy_if_newer(place.programs / "franz_go", sources)
        self._binary = sources / "franz-go-program"
        # The sums of what the module file pins are written beside it, here, and checked against Go's database.
        fetch.run(
            sources, fetch.BUILD_SECONDS, "go", "build", "-o", self._binary, ".",
            GOFLAGS="-mod=mod", GOMAXPROCS="2", GOTOOLCHAIN="local",
        )

    def arguments(self, place):
        return [self._binary]


SHIPPERS = [Kcat(), Rsyslog(), SyslogNg()]
GO = [FranzGo()]
