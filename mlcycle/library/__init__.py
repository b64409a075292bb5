"""The library behind `import mlcycle`: what people call from Python, over the same functions as the command line."""
