// Makes a container in Azurite: make_container.mjs PORT NAME. Account and key are the emulator's own, published ones.
import { createHmac } from "node:crypto";

const [port, name] = process.argv.slice(2);
const account = "devstoreaccount1";
const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const date = new Date().toUTCString();
const signed = [
  "PUT", "", "", "", "", "", "", "", "", "", "", "",
  `x-ms-date:${date}`,
  "x-ms-version:2021-08-06",
  `/${account}/${account}/${name}`,
  "restype:container",
].join("\n");
const signature = createHmac("sha256", Buffer.from(key, "base64")).update(signed, "utf8").digest("base64");
const answer = await fetch(`http://127.0.0.1:${port}/${account}/${name}?restype=container`, {
  method: "PUT",
  headers: {
    "x-ms-date": date,
    "x-ms-version": "2021-08-06",
    authorization: `SharedKey ${account}:${signature}`,
  },
});
if (answer.status !== 201) {
  console.error(answer.status, await answer.text());
  process.exit(1);
}
