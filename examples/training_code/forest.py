"""Training code without torch: scikit-learn's forests on the pixels of digits."""

from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

FORESTS = {"random": RandomForestClassifier, "extra": ExtraTreesClassifier}


def flat(images):
    """Return [images, values]."""
    return images.pixels.reshape(len(images.labels), -1)


def train(config, run):
    """Fit one forest. `config.options` is what the study gives under `options`; `run` takes the predictions."""
    forest = FORESTS[config.options.kind](
        n_estimators=config.options.trees,
        random_state=run.seed("forest") % 2**32,  # the same for both arms of a seed
    )
    images, test = run.split("train"), run.split("test")
    forest.fit(flat(images), images.labels)
    run.predictions("test", test.names, forest.predict(flat(test)))
    run.report()
