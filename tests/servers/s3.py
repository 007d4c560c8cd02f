"""What the servers that speak S3 have in common."""


def options(endpoint, key, secret):
    """The storage options of a client of `endpoint`."""
    allow = {"allow_http": "true"} if endpoint.startswith("http:") else {}
    return {
        "aws_access_key_id": key,
        "aws_secret_access_key": secret,
        "aws_region": "us-east-1",
        "aws_endpoint": endpoint,
    } | allow


def client(service, options):
    """A client of Amazon's own library, for what only a server's administrator does."""
    import boto3

    return boto3.client(
        service,
        endpoint_url=options["aws_endpoint"],
        region_name=options["aws_region"],
        aws_access_key_id=options["aws_access_key_id"],
        aws_secret_access_key=options["aws_secret_access_key"],
    )
