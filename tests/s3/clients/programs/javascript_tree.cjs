// Moves the tree with the AWS SDK for JavaScript: `javascript_tree.cjs ACTION BUCKET [ARGUMENT]`.

const fs = require("node:fs");
const path = require("node:path");
const { pipeline } = require("node:stream/promises");
const s3 = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");

const [action, Bucket, argument] = process.argv.slice(2);
const LARGE_BYTES = 5 << 20;
const client = new s3.S3Client({ forcePathStyle: true });

async function found() {
  const objects = [];
  for await (const page of s3.paginateListObjectsV2({ client }, { Bucket })) {
    objects.push(...(page.Contents ?? []));
  }
  return objects;
}

async function upload(tree) {
  for (const entry of fs.readdirSync(tree, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(entry.parentPath, entry.name);
    const input = { Bucket, Key: path.relative(tree, file), Body: fs.createReadStream(file) };
    const { size } = fs.statSync(file);
    if (size > LARGE_BYTES) {
      await new Upload({ client, params: input }).done();
    } else {
      await client.send(new s3.PutObjectCommand({ ...input, ContentLength: size }));
    }
  }
}

async function download(into) {
  for (const { Key } of await found()) {
    const file = path.join(into, Key);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    const answer = await client.send(new s3.GetObjectCommand({ Bucket, Key }));
    await pipeline(answer.Body, fs.createWriteStream(file));
  }
}

async function clear() {
  const Objects = (await found()).map(({ Key }) => ({ Key }));
  const answer = await client.send(new s3.DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
  if (answer.Errors?.length) throw new Error(JSON.stringify(answer.Errors));
  await client.send(new s3.DeleteBucketCommand({ Bucket }));
}

const actions = {
  version: () => console.log(`@aws-sdk/client-s3 ${require("@aws-sdk/client-s3/package.json").version}`),
  make: () => client.send(new s3.CreateBucketCommand({ Bucket })),
  upload: () => upload(argument),
  list: async () => {
    const objects = await found();
    console.log(JSON.stringify(Object.fromEntries(objects.map((each) => [each.Key, each.Size]))));
  },
  download: () => download(argument),
  delete: () => client.send(new s3.DeleteObjectCommand({ Bucket, Key: argument })),
  clear,
};
Promise.resolve(actions[action]()).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
