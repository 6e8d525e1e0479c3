"""What an AWS account needs for ENV=eks: see README.md."""
