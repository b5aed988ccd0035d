// Speaks to a server by @grpc/grpc-js and the protos alone: `node grpc_js.cjs OPTIONS SCENARIO`, both JSON and a word.
// Prints what came back as one line of JSON.
"use strict";
const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const health = require("grpc-health-check");

const options = JSON.parse(process.argv[2]);
const FILES = ["inference", "adapters", "routes", "server"].map((name) => `adapterhub/v1/${name}.proto`);
const DETAILS = ["google/rpc/status.proto", "google/rpc/error_details.proto"];
const definition = loader.loadSync([...FILES, ...DETAILS], {
  includeDirs: options.protos,
  keepCase: true,
  enums: String,
  longs: Number,
  defaults: true,
});
const { Inference, Adapters, Routes, Server } = grpc.loadPackageDefinition(definition).adapterhub.v1;
const Health = grpc.makeClientConstructor(health.service, "Health");
const secure = options.ca ? grpc.credentials.createSsl(fs.readFileSync(options.ca)) : grpc.credentials.createInsecure();
const metadata = new grpc.Metadata();
if (options.key) metadata.set("authorization", `Bearer ${options.key}`);

const connect = (Service) => new Service(options.address, secure);
const LONG = { text: "hello", sampling: { max_new_tokens: 400, ignore_eos: true } };

function unary(client, method, request, callOptions = {}) {
  return new Promise((resolve, reject) =>
    client[method](request, metadata, callOptions, (error, answer) => (error ? reject(error) : resolve(answer))),
  );
}

async function failure(work) {
  try {
    await work;
  } catch (error) {
    return { code: grpc.status[error.code], message: error.details, details: details(error) };
  }
  return null;
}

function details(error) {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  if (!bytes) return {};
  const status = definition["google.rpc.Status"].deserialize(bytes);
  const known = status.details.map((any) => {
    const name = any.type_url.split("/").pop();
    return [name, definition[name].deserialize(any.value)];
  });
  return Object.fromEntries(known);
}

async function collect(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return pieces;
}

// Once nothing runs any more: how much was generated in all.
async function generatedWhenIdle() {
  for (;;) {
    const { stats } = await unary(connect(Server), "Info", {});
    if (!stats.running && !stats.waiting) return stats.generated_tokens;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const SCENARIOS = {
  async generate() {
    const inference = connect(Inference);
    const { request } = options;
    return {
      info: await unary(connect(Server), "Info", {}),
      tokens: (await unary(inference, "Tokenize", { text: request.text, adapter: request.adapter })).token_ids,
      whole: await unary(inference, "Generate", request),
      pieces: await collect(inference.GenerateStream(request, metadata)),
    };
  },

  async adapter() {
    const adapters = connect(Adapters);
    const { adapter } = options;
    const loaded = await unary(adapters, "Load", { adapter });
    const states = [];
    let listed, digest;
    for await (const answer of adapters.Watch({ adapter }, metadata)) {
      states.push(answer.adapter.state);
      if (states.at(-1) !== "ADAPTER_STATE_RESIDENT") continue;
      listed = (await unary(adapters, "List", { states: ["ADAPTER_STATE_RESIDENT"] })).adapters;
      ({ digest } = await unary(adapters, "Unload", { adapter }));
    }
    return { loaded: loaded.adapter, listed, digest, states };
  },

  async route() {
    const route = { task: options.task, targets: [{ adapter: options.adapter, weight: 1 }] };
    await unary(connect(Routes), "Set", { route });
    const { routes } = await unary(connect(Routes), "List", {});
    const answer = await unary(connect(Inference), "Generate", { text: "hello", task: options.task });
    return { routes, answer };
  },

  async health() {
    const asked = ["", "adapterhub.v1.Inference", "adapterhub.v1.Nothing"];
    const client = connect(Health);
    return Promise.all(
      asked.map((service) => unary(client, "check", { service }).then((answer) => answer.status, (e) => e.code)),
    );
  },

  async errors() {
    const inference = connect(Inference);
    const asked = [{ text: "hello", sampling: { temperature: 11 } }, { text: "hello", adapter: "nowhere" }];
    const unaries = asked.map((request) => failure(unary(inference, "Generate", request)));
    const streams = asked.map((request) => failure(collect(inference.GenerateStream(request, metadata))));
    return { unary: await Promise.all(unaries), stream: await Promise.all(streams) };
  },

  async deadline() {
    const before = await generatedWhenIdle();
    const stream = connect(Inference).GenerateStream(LONG, metadata, { deadline: Date.now() + 100 });
    const ended = await failure(collect(stream));
    return { ended, generated: (await generatedWhenIdle()) - before };
  },

  async cancel() {
    const before = await generatedWhenIdle();
    const stream = connect(Inference).GenerateStream(LONG, metadata);
    stream.once("data", () => stream.cancel());
    const ended = await failure(new Promise((resolve, reject) => stream.once("end", resolve).once("error", reject)));
    return { ended, generated: (await generatedWhenIdle()) - before };
  },

  async refused() {
    return failure(unary(connect(Server), "Info", {}, { deadline: Date.now() + 20000 }));
  },
};

SCENARIOS[process.argv[3]]().then(
  (answer) => {
    console.log(JSON.stringify(answer));
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
