// A client of oscquery (node-oscquery), used through its public methods only.   node oscquery.mjs ADDRESS PORT
import oscquery from "oscquery";
import { serve } from "./driver.mjs";

const [address, port] = process.argv.slice(2);
const discovery = new oscquery.OSCQueryDiscovery();
let service;

serve({
  query: async () => void (service = await discovery.queryNewService(address, Number(port))),
  update: async () => void (await service.update()),
  host: async () => service.hostInfo,
  methods: async () => Object.fromEntries(service.flat().map((method) => [method.full_path, method])),
  has: async (path) => service.resolvePath(path) !== null,
});
