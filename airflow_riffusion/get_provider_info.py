"""
All that Airflow discovers about this provider, as plain data.

Airflow loads this module while ``airflow`` itself is being imported: an error in here would break
``import airflow`` for everybody, so it imports nothing.
"""


def get_provider_info() -> dict:  # type: ignore[type-arg]
    """
    Return the provider's metadata.

    :return: what Airflow's ``provider_info.schema.json`` describes.
    """
    return {
        "package-name": "airflow-riffusion",
        "name": "Riffusion",
        "description": "Makes songs on the free job slots of your accounts at useapi.net.",
        "integrations": [
            {
                "integration-name": "Riffusion",
                "external-doc-url": "https://useapi.net/docs/api-riffusion-v1",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {"integration-name": "Riffusion", "python-modules": ["airflow_riffusion.hooks.riffusion"]},
        ],
        "operators": [
            {
                "integration-name": "Riffusion",
                "python-modules": [
                    "airflow_riffusion.operators.capacity",
                    "airflow_riffusion.operators.submit",
                ],
            },
        ],
        "sensors": [
            {
                "integration-name": "Riffusion",
                "python-modules": [
                    "airflow_riffusion.sensors.capacity",
                    "airflow_riffusion.sensors.job",
                ],
            },
        ],
        "triggers": [
            {
                "integration-name": "Riffusion",
                "python-modules": [
                    "airflow_riffusion.triggers.capacity",
                    "airflow_riffusion.triggers.event",
                    "airflow_riffusion.triggers.job",
                    "airflow_riffusion.triggers.submission",
                ],
            },
        ],
        "extra-links": ["airflow_riffusion.operators.links.AudioLink"],
        "cli": ["airflow_riffusion.cli.definition.get_riffusion_cli_commands"],
        "connection-types": [
            {
                "connection-type": "riffusion",
                "hook-class-name": "airflow_riffusion.hooks.riffusion.RiffusionHook",
                "hook-name": "Riffusion",
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "schema"],
                    "relabeling": {"password": "API token", "host": "Base URL"},
                    "placeholders": {
                        "host": "https://api.useapi.net",
                        "password": "user:1234-abcDEF…",
                        "port": "443",
                    },
                },
                "conn-fields": {
                    "service": {
                        "label": "Service",
                        "description": (
                            "The useapi.net service whose job slots count. riffusion: Riffusion, which "
                            "useapi.net has switched off. flowmusic: Google Flow Music, in its place. "
                            "tempolor: TemPolor. acemusic: ACE Music. mureka: Mureka. pixverse: PixVerse, "
                            "music and video. kling: Kling, video."
                        ),
                        "schema": {
                            "type": ["string", "null"],
                            "enum": [
                                "riffusion",
                                "flowmusic",
                                "tempolor",
                                "acemusic",
                                "mureka",
                                "pixverse",
                                "kling",
                            ],
                            "default": "riffusion",
                        },
                    },
                    "max_jobs": {
                        "label": "Slots per account",
                        "description": (
                            "Where the service does not say it. Needed for mureka, where an account makes up "
                            "to 10 songs at once."
                        ),
                        "schema": {
                            "type": ["integer", "null"],
                            "minimum": 1,
                            "maximum": 100,
                            "default": None,
                        },
                    },
                    "timeout": {
                        "label": "Timeout (seconds)",
                        "description": "For a whole request, from connecting to the last byte.",
                        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 600, "default": 30},
                    },
                    "allow_http": {
                        "label": "Allow plain HTTP",
                        "description": "Send the API token unencrypted, and not only to this very machine.",
                        "schema": {"type": ["boolean", "null"], "default": False},
                    },
                    "separate_triggerers": {
                        "label": "Separate triggerers",
                        "description": "Let each triggerer grant slots without asking the others.",
                        "schema": {"type": ["boolean", "null"], "default": False},
                    },
                },
            }
        ],
    }
