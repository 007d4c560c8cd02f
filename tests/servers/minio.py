"""MinIO: S3 with signatures that are checked, and users who may only read.

The report's `read_only` are options with temporary credentials, session token included, that may not write.
Requests without a signature may read, too, and nothing else.
"""

import json
import os

from . import lifetime, s3

KEY, SECRET = "metaxy-admin", "metaxy-admin-secret"

READ = {
    "Effect": "Allow",
    "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
    "Resource": [f"arn:aws:s3:::{lifetime.BUCKET}", f"arn:aws:s3:::{lifetime.BUCKET}/*"],
}


def main():
    program = lifetime.installed(lifetime.CACHE / "bin/minio")
    port = lifetime.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    settings = {"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_BROWSER": "off", "MINIO_UPDATE": "off"}
    with lifetime.directory() as directory:
        command = [program, "server", "--quiet", "--address", f"127.0.0.1:{port}"]
        command += ["--certs-dir", f"{directory}/certs", f"{directory}/data"]
        with lifetime.child(command, env=os.environ | settings) as process:
            lifetime.wait_for(process, f"{endpoint}/minio/health/ready")
            options = s3.options(endpoint, KEY, SECRET)
            make_bucket(options)
            lifetime.until_input_ends({
                "port": port,
                "endpoint": endpoint,
                "bucket": lifetime.BUCKET,
                "uri": f"s3://{lifetime.BUCKET}",
                "options": options,
                "read_only": read_only(options),
                "directory": directory,
            })


def make_bucket(options):
    client = s3.client("s3", options)
    client.create_bucket(Bucket=lifetime.BUCKET)
    client.put_bucket_policy(Bucket=lifetime.BUCKET, Policy=policy(READ | {"Principal": "*"}))


def read_only(options):
    role = s3.client("sts", options).assume_role(
        # MinIO heeds neither of the two, but Amazon's library asks for them.
        RoleArn="arn:aws:iam::123456789012:role/reader",
        RoleSessionName="reader",
        Policy=policy(READ),
    )["Credentials"]
    return options | {
        "aws_access_key_id": role["AccessKeyId"],
        "aws_secret_access_key": role["SecretAccessKey"],
        "aws_session_token": role["SessionToken"],
    }


def policy(statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


if __name__ == "__main__":
    main()
