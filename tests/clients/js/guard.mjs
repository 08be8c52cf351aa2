// Loaded first: this process reaches the gateway only, whichever library calls. A gateway's own names lead to loopback,
// any other name is unknown, and a connection to an address that is not loopback throws.

import dns from "node:dns";
import net from "node:net";

const LOOPBACK = new Set(["localhost", "127.0.0.1", "::1"]);
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function guarded(...given) {
  const options = Array.isArray(given[0]) ? given[0][0] : given[0];
  const host = typeof options === "object" ? (options.host ?? "localhost") : given[1];
  if (!options?.path && !LOOPBACK.has(host) && !host.endsWith(".default")) {
    throw new Error(`a test may reach only this machine, not ${host}`);
  }
  return connect.apply(this, given);
};

dns.lookup = function lookup(name, options, callback) {
  const done = callback ?? options;
  if (!LOOPBACK.has(name) && !name.endsWith(".default")) {
    done(Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: "ENOTFOUND" }));
  } else if (typeof options === "object" && options.all) {
    done(null, [{ address: "127.0.0.1", family: 4 }]);
  } else {
    done(null, "127.0.0.1", 4);
  }
};
