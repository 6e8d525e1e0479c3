"""The encrypted logs of the API: decrypted, pseudonymised and published hour by hour."""
