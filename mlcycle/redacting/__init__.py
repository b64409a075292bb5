"""Redacting images and folders of images: copies without recognisable faces, their review and a report."""
