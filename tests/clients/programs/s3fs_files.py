"""s3fs: files on S3. Arguments: a bucket that it makes, a local folder with files."""

import json
import sys
import urllib.request

import s3fs

bucket, tree = sys.argv[1:]
fs = s3fs.S3FileSystem()
fs.mkdir(bucket)
with fs.open(f"{bucket}/a/text", "w") as file:
    file.write("hello\n")
with fs.open(f"{bucket}/a/text", "ab") as file:
    file.write(b"more\n")
with fs.open(f"{bucket}/large", "wb", block_size=5 * 2**20) as file:  # a multipart upload
    for letter in b"ab":
        file.write(bytes([letter]) * 6 * 2**20)
fs.put(tree, f"{bucket}/tree", recursive=True)
fs.copy(f"{bucket}/large", f"{bucket}/copied")
fs.mv(f"{bucket}/copied", f"{bucket}/moved")
fs.setxattr(f"{bucket}/a/text", colour="blue")
with urllib.request.urlopen(fs.url(f"{bucket}/a/text")) as answer:
    found = {"presigned": answer.read().decode()}
found |= {
    "text": fs.cat(f"{bucket}/a/text").decode(),
    "block": fs.read_block(f"{bucket}/moved", 6 * 2**20 - 2, 4).decode(),
    "tree": sorted(fs.find(f"{bucket}/tree", detail=False)),
    "sizes": {name: details["size"] for name, details in fs.find(f"{bucket}/tree", detail=True).items()},
    "globbed": fs.glob(f"{bucket}/*/text"),
    "listed": sorted(fs.ls(bucket)),
    "metadata": fs.metadata(f"{bucket}/a/text"),
}
fs.rm(f"{bucket}/tree", recursive=True)
found["left"] = fs.exists(f"{bucket}/tree")
try:
    fs.cat(f"{bucket}/none")
except FileNotFoundError as error:
    found["missing"] = type(error).__name__

print(json.dumps(found))
